// Carries a plan out with minio-go: reads it from the input, runs its stages a few steps at a time, prints the results.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"
	"github.com/minio/minio-go/v7/pkg/sse"
)

type mode struct {
	Kind    string
	KeyID   string `json:"keyId"`
	Context map[string]string
	Key     string
}

type step struct {
	Op         string
	Bucket     string
	Key        string
	Offset     int64
	Size       int64
	Mode       mode
	Metadata   map[string]string
	PartSize   uint64
	Checksum   string
	Range      []int64
	FromBucket string
	FromKey    string
	FromMode   mode
	Prefix     string
	Delimiter  string
	API        int
	PageSize   int
	Keys       []string
	Method     string

	VersionID     string `json:"versionId"`
	FromVersionID string `json:"fromVersionId"`
	Versions      [][2]string
	Status        string
	Policy        string
}

type plan struct {
	Endpoint, CaFile, AccessKey, SecretKey, DataFile string
	Stages                                           [][]step
}

type result map[string]any

var ctx = context.Background()

func main() {
	var p plan
	must(json.NewDecoder(os.Stdin).Decode(&p))
	data, err := os.ReadFile(p.DataFile)
	must(err)
	core := connect(p)
	all := [][]result{}
	for _, stage := range p.Stages {
		results := make([]result, len(stage))
		var group sync.WaitGroup
		slots := make(chan struct{}, 4)
		for i := range stage {
			group.Add(1)
			slots <- struct{}{}
			go func() {
				defer func() { <-slots; group.Done() }()
				got, err := perform(core, stage[i], data)
				if err != nil {
					answer := minio.ToErrorResponse(err)
					got = result{"error": result{"code": answer.Code, "status": answer.StatusCode, "message": err.Error()}}
				}
				results[i] = got
			}()
		}
		group.Wait()
		all = append(all, results)
	}
	must(json.NewEncoder(os.Stdout).Encode(all))
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func connect(p plan) minio.Core {
	at, err := url.Parse(p.Endpoint)
	must(err)
	transport, err := minio.DefaultTransport(at.Scheme == "https")
	must(err)
	if p.CaFile != "" {
		pem, err := os.ReadFile(p.CaFile)
		must(err)
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	core, err := minio.NewCore(at.Host, &minio.Options{
		Creds:           credentials.NewStaticV4(p.AccessKey, p.SecretKey, ""),
		Secure:          at.Scheme == "https",
		Transport:       transport,
		TrailingHeaders: true,
		MaxRetries:      1,
	})
	must(err)
	return *core
}

func perform(core minio.Core, s step, data []byte) (result, error) {
	switch s.Op {
	case "createBucket":
		return result{}, core.MakeBucket(ctx, s.Bucket, minio.MakeBucketOptions{})
	case "deleteBucket":
		return result{}, core.RemoveBucket(ctx, s.Bucket)
	case "setDefault":
		return setDefault(core, s)
	case "put":
		return put(core, s, data[s.Offset:s.Offset+s.Size])
	case "head":
		return head(core, s)
	case "get":
		return get(core, s)
	case "copy":
		return copyObject(core, s)
	case "list":
		return list(core, s)
	case "delete":
		return deleteAll(core, s)
	case "remove":
		return result{}, core.RemoveObject(ctx, s.Bucket, s.Key, minio.RemoveObjectOptions{VersionID: s.VersionID})
	case "versioning":
		config := minio.BucketVersioningConfiguration{Status: s.Status}
		return result{}, core.SetBucketVersioning(ctx, s.Bucket, config)
	case "listVersions":
		return listVersions(core, s)
	case "deleteVersions":
		return deleteAll(core, s)
	case "setPolicy":
		return result{}, core.SetBucketPolicy(ctx, s.Bucket, s.Policy)
	case "presign":
		return presign(core, s)
	case "form":
		return form(core, s)
	}
	return nil, fmt.Errorf("unknown step %q", s.Op)
}

// encryption gives what a write asks for.
func encryption(m mode) (encrypt.ServerSide, error) {
	switch m.Kind {
	case "s3":
		return encrypt.NewSSE(), nil
	case "kms":
		if m.Context == nil {
			return encrypt.NewSSEKMS(m.KeyID, nil)
		}
		return encrypt.NewSSEKMS(m.KeyID, m.Context)
	}
	return customerKey(m)
}

func customerKey(m mode) (encrypt.ServerSide, error) {
	if m.Kind != "c" {
		return nil, nil
	}
	return encrypt.NewSSEC([]byte(m.Key))
}

func shown(headers http.Header) result {
	out := result{}
	for member, name := range map[string]string{
		"method":            encrypt.SseGenericHeader,
		"keyId":             encrypt.SseKmsKeyID,
		"customerAlgorithm": encrypt.SseCustomerAlgorithm,
		"customerKeyMd5":    encrypt.SseCustomerKeyMD5,
	} {
		if value := headers.Get(name); value != "" {
			out[member] = value
		}
	}
	return out
}

func setDefault(core minio.Core, s step) (result, error) {
	if s.Mode.Kind == "none" {
		return result{"sse": result{}}, core.RemoveBucketEncryption(ctx, s.Bucket)
	}
	config := sse.NewConfigurationSSES3()
	if s.Mode.Kind == "kms" {
		config = sse.NewConfigurationSSEKMS(s.Mode.KeyID)
	}
	if err := core.SetBucketEncryption(ctx, s.Bucket, config); err != nil {
		return nil, err
	}
	got, err := core.GetBucketEncryption(ctx, s.Bucket)
	if err != nil {
		return nil, err
	}
	apply := got.Rules[0].Apply
	out := result{"method": apply.SSEAlgorithm}
	if apply.KmsMasterKeyID != "" {
		out["keyId"] = apply.KmsMasterKeyID
	}
	return result{"sse": out}, nil
}

var checksumTypes = map[string]minio.ChecksumType{
	"CRC32": minio.ChecksumCRC32, "CRC32C": minio.ChecksumCRC32C, "SHA1": minio.ChecksumSHA1,
	"SHA256": minio.ChecksumSHA256, "CRC64NVME": minio.ChecksumCRC64NVME,
}

func checksums(values ...string) result {
	out := result{}
	for i, name := range []string{"CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"} {
		if values[i] != "" {
			out[name] = values[i]
		}
	}
	return out
}

func put(core minio.Core, s step, payload []byte) (result, error) {
	key, err := encryption(s.Mode)
	if err != nil {
		return nil, err
	}
	options := minio.PutObjectOptions{
		UserMetadata:         s.Metadata,
		ServerSideEncryption: key,
		PartSize:             s.PartSize,
		DisableMultipart:     s.PartSize == 0,
		Checksum:             checksumTypes[s.Checksum],
	}
	info, err := core.Client.PutObject(ctx, s.Bucket, s.Key, bytes.NewReader(payload), s.Size, options)
	if err != nil {
		return nil, err
	}
	sums := checksums(info.ChecksumCRC32, info.ChecksumCRC32C, info.ChecksumSHA1, info.ChecksumSHA256, info.ChecksumCRC64NVME)
	out := result{"etag": info.ETag, "checksums": sums}
	if info.VersionID != "" {
		out["versionId"] = info.VersionID
	}
	return out, nil
}

func head(core minio.Core, s step) (result, error) {
	key, err := customerKey(s.Mode)
	if err != nil {
		return nil, err
	}
	info, err := core.StatObject(ctx, s.Bucket, s.Key, minio.StatObjectOptions{ServerSideEncryption: key, VersionID: s.VersionID})
	if err != nil {
		return nil, err
	}
	metadata := map[string]string{}
	for name, value := range info.UserMetadata {
		metadata[strings.ToLower(name)] = value
	}
	return result{"etag": info.ETag, "size": info.Size, "metadata": metadata, "sse": shown(info.Headers)}, nil
}

func get(core minio.Core, s step) (result, error) {
	key, err := customerKey(s.Mode)
	if err != nil {
		return nil, err
	}
	options := minio.GetObjectOptions{ServerSideEncryption: key, Checksum: s.Range == nil, VersionID: s.VersionID}
	if s.Range != nil {
		if err := options.SetRange(s.Range[0], s.Range[1]); err != nil {
			return nil, err
		}
	}
	body, info, headers, err := core.GetObject(ctx, s.Bucket, s.Key, options)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, body)
	if err != nil {
		return nil, err
	}
	sums := result{}
	if s.Range == nil {
		sums = checksums(info.ChecksumCRC32, info.ChecksumCRC32C, info.ChecksumSHA1, info.ChecksumSHA256, info.ChecksumCRC64NVME)
	}
	return result{"sha256": hex.EncodeToString(hash.Sum(nil)), "size": size, "etag": info.ETag, "sse": shown(headers), "checksums": sums}, nil
}

func copyObject(core minio.Core, s step) (result, error) {
	from, err := customerKey(s.FromMode)
	if err != nil {
		return nil, err
	}
	to, err := encryption(s.Mode)
	if err != nil {
		return nil, err
	}
	info, err := core.Client.CopyObject(ctx,
		minio.CopyDestOptions{Bucket: s.Bucket, Object: s.Key, Encryption: to},
		minio.CopySrcOptions{Bucket: s.FromBucket, Object: s.FromKey, Encryption: from, VersionID: s.FromVersionID})
	return result{"etag": info.ETag}, err
}

func list(core minio.Core, s step) (result, error) {
	objects, prefixes := [][]any{}, []string{}
	for found := range core.Client.ListObjects(ctx, s.Bucket, minio.ListObjectsOptions{
		Prefix: s.Prefix, Recursive: s.Delimiter == "", UseV1: s.API == 1, MaxKeys: s.PageSize,
	}) {
		switch {
		case found.Err != nil:
			return nil, found.Err
		case found.ETag == "":
			prefixes = append(prefixes, found.Key)
		default:
			objects = append(objects, []any{found.Key, found.Size, found.ETag})
		}
	}
	return result{"objects": objects, "prefixes": prefixes}, nil
}

func deleteAll(core minio.Core, s step) (result, error) {
	wanted := make(chan minio.ObjectInfo)
	go func() {
		defer close(wanted)
		for _, key := range s.Keys {
			wanted <- minio.ObjectInfo{Key: key}
		}
		for _, version := range s.Versions {
			wanted <- minio.ObjectInfo{Key: version[0], VersionID: version[1]}
		}
	}()
	for failed := range core.RemoveObjects(ctx, s.Bucket, wanted, minio.RemoveObjectsOptions{}) {
		return nil, failed.Err
	}
	return result{}, nil
}

func listVersions(core minio.Core, s step) (result, error) {
	versions, markers := [][]any{}, [][]any{}
	for found := range core.Client.ListObjects(ctx, s.Bucket, minio.ListObjectsOptions{Recursive: true, WithVersions: true, MaxKeys: 2}) {
		entry := []any{found.Key, found.VersionID, found.IsLatest, found.IsDeleteMarker}
		switch {
		case found.Err != nil:
			return nil, found.Err
		case found.IsDeleteMarker:
			markers = append(markers, entry)
		default:
			versions = append(versions, entry)
		}
	}
	return result{"versions": append(versions, markers...)}, nil
}

func form(core minio.Core, s step) (result, error) {
	policy := minio.NewPostPolicy()
	for _, err := range []error{
		policy.SetBucket(s.Bucket), policy.SetKey(s.Key), policy.SetExpires(time.Now().UTC().Add(time.Minute)),
	} {
		if err != nil {
			return nil, err
		}
	}
	at, fields, err := core.PresignedPostPolicy(ctx, policy)
	if err != nil {
		return nil, err
	}
	return result{"url": at.String(), "fields": fields}, nil
}

func presign(core minio.Core, s step) (result, error) {
	made, err := core.Presign(ctx, s.Method, s.Bucket, s.Key, time.Minute, nil)
	if err != nil {
		return nil, err
	}
	return result{"url": made.String()}, nil
}
