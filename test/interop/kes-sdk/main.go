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
	testPolicies(ctx, client, roots)
	testLogs(ctx, client)

	sum, err := client.HMAC(ctx, "sdk-key", []byte("message"))
	must("hmac", err)
	again, err := client.HMAC(ctx, "sdk-key", []byte("message"))
	must("hmac again", err)
	want("hmac is the same twice", len(sum) == 32 && bytes.Equal(sum, again), sum)
	ready, err := client.IsReady(ctx)
	must("ready", err)
	want("is ready", ready, ready)

	metrics, err := client.Metrics(ctx)
	must("metrics", err)
	want("metrics count requests", metrics.RequestOK > 0, metrics)
	must("delete", client.DeleteKey(ctx, "sdk-key"))
	want("delete again is ErrKeyNotFound", errors.Is(client.DeleteKey(ctx, "sdk-key"), kes.ErrKeyNotFound), "other")
}

// testPolicies looks at the policy and the identities of the configuration, as admin and as the application.
func testPolicies(ctx context.Context, admin *kes.Client, roots *x509.CertPool) {
	apiKey, err := kes.ParseAPIKey(os.Args[4])
	must("parse the API key of the application", err)
	cert, err := kes.GenerateCertificate(apiKey)
	must("make its certificate", err)
	app := kes.NewClientWithConfig(os.Args[1], &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: roots})

	names, _, err := admin.ListPolicies(ctx, "", -1)
	must("list policies", err)
	want("lists the policy", len(names) == 1 && names[0] == "sdk-policy", names)
	info, err := admin.DescribePolicy(ctx, "sdk-policy")
	must("describe policy", err)
	want("describes the policy", info.Name == "sdk-policy" && !info.CreatedAt.IsZero(), info)
	policy, err := admin.GetPolicy(ctx, "sdk-policy")
	must("get policy", err)
	_, allows := policy.Allow["/v1/key/generate/sdk-*"]
	_, denies := policy.Deny["/v1/key/generate/sdk-secret*"]
	want("reads its rules", allows && denies, policy)
	_, err = admin.DescribePolicy(ctx, "absent")
	want("an unknown policy is ErrPolicyNotFound", errors.Is(err, kes.ErrPolicyNotFound), err)

	identities, _, err := admin.ListIdentities(ctx, "", -1)
	must("list identities", err)
	want("lists admin and application", len(identities) == 2, identities)
	who, err := admin.DescribeIdentity(ctx, apiKey.Identity())
	must("describe identity", err)
	want("describes the identity", who.Policy == "sdk-policy" && !who.IsAdmin, who)
	_, err = admin.DescribeIdentity(ctx, "absent")
	want("an unknown identity is ErrIdentityNotFound", errors.Is(err, kes.ErrIdentityNotFound), err)

	self, own, err := app.DescribeSelf(ctx)
	must("the application describes itself", err)
	_, allows = own.Allow["/v1/key/generate/sdk-*"]
	want("and reads its own rules", self.Policy == "sdk-policy" && allows, own)
	_, err = app.GenerateKey(ctx, "sdk-key", nil)
	must("the application generates", err)
	_, err = app.GenerateKey(ctx, "sdk-secret", nil)
	want("what is denied is ErrNotAllowed", errors.Is(err, kes.ErrNotAllowed), err)
	_, err = app.Decrypt(ctx, "sdk-key", nil, nil)
	want("what is not allowed is ErrNotAllowed", errors.Is(err, kes.ErrNotAllowed), err)
}

// testLogs follows both streams until an event of this very program arrives.
func testLogs(ctx context.Context, client *kes.Client) {
	audit, err := client.AuditLog(ctx)
	must("follow the audit log", err)
	go client.DescribeKey(ctx, "sdk-key")
	isThere := false
	for !isThere && audit.Next() {
		event := audit.Event()
		isThere = event.APIPath == "/v1/key/describe/sdk-key" && event.StatusCode == 200
	}
	want("the audit log tells of a call", isThere, "the end of the stream")
	must("stop following it", audit.Close())
	errorLog, err := client.ErrorLog(ctx)
	must("follow the error log", err)
	must("stop following it", errorLog.Close())
}
