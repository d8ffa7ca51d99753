// Command kes-sdk drives a key service with the official Go SDK: every call a store or a script makes, and
// the errors they compare. It prints one line per check and exits 1 at the first surprise.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/minio/kms-go/kes"
)

func must(what string, err error) {
	if err != nil {
		fmt.Printf("FAIL %s: %v\n", what, err)
		os.Exit(1)
	}
	fmt.Printf("ok   %s\n", what)
}

func want(what string, isGood bool, got any) {
	if !isGood {
		fmt.Printf("FAIL %s: got %v\n", what, got)
		os.Exit(1)
	}
	fmt.Printf("ok   %s\n", what)
}

func main() {
	endpoint, apiKeyText, caFile := os.Args[1], os.Args[2], os.Args[3]
	apiKey, err := kes.ParseAPIKey(apiKeyText)
	must("parse the API key", err)
	cert, err := kes.GenerateCertificate(apiKey)
	must("make a certificate", err)
	pem, err := os.ReadFile(caFile)
	must("read the CA", err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := kes.NewClientWithConfig(endpoint, &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: roots})
	ctx := context.Background()

	version, err := client.Version(ctx)
	must("version "+version, err)
	state, err := client.Status(ctx)
	must("status", err)
	want("status names a version", state.Version != "", state)
	apis, err := client.APIs(ctx)
	must("APIs", err)
	want("APIs lists routes", len(apis) > 10, len(apis))

	must("create", client.CreateKey(ctx, "sdk-key"))
	want("create again is ErrKeyExists", errors.Is(client.CreateKey(ctx, "sdk-key"), kes.ErrKeyExists), "other")
	must("import", client.ImportKey(ctx, "sdk-imported", &kes.ImportKeyRequest{Key: bytes.Repeat([]byte{7}, 32), Cipher: kes.AES256}))
	info, err := client.DescribeKey(ctx, "sdk-key")
	must("describe", err)
	want("describe names key and creator", info.Name == "sdk-key" && info.CreatedBy == apiKey.Identity(), info)

	dek, err := client.GenerateKey(ctx, "sdk-key", []byte("context"))
	must("generate", err)
	want("a data key has 32 bytes", len(dek.Plaintext) == 32, len(dek.Plaintext))
	opened, err := client.Decrypt(ctx, "sdk-key", dek.Ciphertext, []byte("context"))
	must("decrypt", err)
	want("decrypt gives the data key back", bytes.Equal(opened, dek.Plaintext), "other bytes")
	_, err = client.Decrypt(ctx, "sdk-key", dek.Ciphertext, []byte("other"))
	want("another context is ErrDecrypt", errors.Is(err, kes.ErrDecrypt), err)
	_, err = client.GenerateKey(ctx, "absent", nil)
	want("an absent key is ErrKeyNotFound", errors.Is(err, kes.ErrKeyNotFound), err)
	sealed, err := client.Encrypt(ctx, "sdk-key", []byte("a message"), nil)
	must("encrypt", err)
	message, err := client.Decrypt(ctx, "sdk-key", sealed, nil)
	must("decrypt a message", err)
	want("the message comes back", string(message) == "a message", string(message))

	var wait sync.WaitGroup
	failures := make(chan error, 1000)
	for i := 0; i < 64; i++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for j := 0; j < 10; j++ {
				if _, err := client.Decrypt(ctx, "sdk-key", dek.Ciphertext, []byte("context")); err != nil {
					failures <- err
				}
			}
		}()
	}
	wait.Wait()
	want("640 decrypts, 64 at once", len(failures) == 0, len(failures))

	iter := kes.ListIter[string]{NextFunc: client.ListKeys}
	names := map[string]bool{}
	for name, err := iter.SeekTo(ctx, "sdk-*"); err != io.EOF; name, err = iter.Next(ctx) {
		must("list", err)
		names[name] = true
	}
	want("list has both keys", names["sdk-key"] && names["sdk-imported"], names)
	self, _, err := client.DescribeSelf(ctx)
	must("describe self", err)
	want("self is the admin", self.Identity == apiKey.Identity() && self.IsAdmin, self)
	metrics, err := client.Metrics(ctx)
	must("metrics", err)
	want("metrics count requests", metrics.RequestOK > 0, metrics)
	must("delete", client.DeleteKey(ctx, "sdk-key"))
	want("delete again is ErrKeyNotFound", errors.Is(client.DeleteKey(ctx, "sdk-key"), kes.ErrKeyNotFound), "other")
}
