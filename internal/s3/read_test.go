package s3

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

const (
	auditorKey   = "AKIAAUDITOR"
	auditorToken = "auditor/secret+key"
)

// readWorld returns a world whose bucket has objects under audit-logs/, and the
// configuration of an auditor who may read them.
func readWorld(t *testing.T, objects map[string]string) (*world, aws.Config) {
	t.Helper()
	dir := t.TempDir()
	sim, err := awssim.New(awssim.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Sim: sim}
	sim.Observe(w.calls.Add)
	if err := errors.Join(
		sim.AddBucket(awssim.Bucket{Name: bucket, Account: account, Region: region}),
		sim.AddUser(awssim.User{ARN: "arn:aws:iam::" + account + ":user/auditor", AccessKeyID: auditorKey, SecretKey: auditorToken, Identity: []*iam.Policy{iam.MustParse(
			`{"Version": "2012-10-17", "Statement": [
				{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::` + bucket + `"},
				{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::` + bucket + `/audit-logs/*"}]}`)}}),
	); err != nil {
		t.Fatal(err)
	}
	for key, body := range objects {
		name := filepath.Join(dir, bucket, filepath.FromSlash(key))
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(body), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	w.url = serve(t, sim.Handler())
	return w, aws.Config{Region: region, BaseEndpoint: &w.url, Credentials: credentials.NewStaticCredentialsProvider(auditorKey, auditorToken, "")}
}

func openReader(t *testing.T, cfg aws.Config, endpoint string) *Reader {
	t.Helper()
	r, err := OpenReader(t.Context(), cfg, endpoint, 8)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// listed returns the keys that a Reader lists, sorted.
func listed(t *testing.T, r *Reader, prefix string) []string {
	t.Helper()
	var mu sync.Mutex
	var keys []string
	if err := r.List(t.Context(), prefix, func(l Listed) error {
		mu.Lock()
		defer mu.Unlock()
		if l.Written.IsZero() {
			t.Errorf("%s was written at no time", l.Key)
		}
		keys = append(keys, l.Key)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	return keys
}

func TestReader(t *testing.T) {
	odd := "schema=audit_log/v/odd + %41 é&<>.json"
	objects := map[string]string{
		"audit-logs/schema=audit_log/version=v1/year=2026/month=05/day=22/1.json": "1",
		"audit-logs/schema=audit_log/version=v1/year=2026/month=05/day=23/2.json": "22",
		"audit-logs/schema=audit_log/stray":                                       "333",
		"audit-logs/" + odd:                                                       "4444",
		"audit-logs/manifest/drn_1/000000000001.json":                             "{}",
		"audit-logs-of-others/schema=audit_log/5.json":                            "5",
	}
	for i := range 1500 { // more than a page
		objects["audit-logs/schema=audit_log/version=v1/year=2026/month=06/day=01/"+string(rune('a'+i%26))+string(rune('a'+i/26))+".json"] = "x"
	}
	_, cfg := readWorld(t, objects)
	r := openReader(t, cfg, "s3://"+bucket+"/audit-logs")

	var want []string
	for _, key := range slices.Sorted(maps.Keys(objects)) {
		if below, ok := strings.CutPrefix(key, "audit-logs/schema=audit_log/"); ok {
			want = append(want, "schema=audit_log/"+below)
		}
	}
	if diff := cmp.Diff(want, listed(t, r, "schema=audit_log/")); diff != "" {
		t.Error(diff)
	}
	if got := listed(t, r, "manifest/"); len(got) != 1 {
		t.Errorf("%q", got)
	}
	if got := listed(t, r, "nothing/"); len(got) != 0 {
		t.Errorf("%q", got)
	}
	if b, err := r.Get(t.Context(), odd, 10, nil); err != nil || string(b) != "4444" {
		t.Errorf("%q, %v", b, err)
	}
	if b, err := r.Get(t.Context(), odd, 2, make([]byte, 1, 2000)); err != nil || string(b) != "444" {
		t.Errorf("%q, %v: want one byte more than asked for", b, err)
	}
	if _, err := r.Get(t.Context(), "none", 10, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	stop := errors.New("stop")
	if err := r.List(t.Context(), "schema=audit_log/", func(Listed) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
}

func TestReaderErrors(t *testing.T) {
	_, cfg := readWorld(t, map[string]string{"other/x": "1", "audit-logs/x": "1"})
	if _, err := OpenReader(t.Context(), cfg, "s3://no-such-bucket-here", 1); err == nil {
		t.Error("a bucket that is not there was opened")
	}
	elsewhere := cfg.Copy()
	elsewhere.Region = "us-east-1"
	if b, err := openReader(t, elsewhere, "s3://"+bucket+"/audit-logs").Get(t.Context(), "x", 1, nil); err != nil || string(b) != "1" {
		t.Errorf("from another region: %q, %v", b, err)
	}
	if _, err := openReader(t, cfg, "s3://"+bucket).Get(t.Context(), "other/x", 1, nil); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what may not be read: %v", err)
	}
}

// TestReaderRepeats has S3 throttle, and break off an answer.
func TestReaderRepeats(t *testing.T) {
	w, cfg := readWorld(t, map[string]string{"audit-logs/x": "a long answer"})
	r := openReader(t, cfg, "s3://"+bucket+"/audit-logs")
	for _, f := range []awssim.Fault{{Err: awssim.SlowDown()}, {Truncate: true}, {Reset: true}} {
		w.fault("GetObject", f, 1)
		if b, err := r.Get(t.Context(), "x", 100, nil); err != nil || string(b) != "a long answer" {
			t.Errorf("%+v: %q, %v", f, b, err)
		}
	}
}
