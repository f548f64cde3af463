package s3

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
	"github.com/auditdrain/auditdrain/internal/leaktest"
)

// awsEnv gives this process an AWS environment of its own.
func awsEnv(t *testing.T, assignments ...string) {
	t.Helper()
	for _, a := range os.Environ() {
		if name, _, _ := strings.Cut(a, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "") // so that it is put back
			os.Unsetenv(name)
		}
	}
	for _, a := range append(isolatedEnv(), assignments...) {
		name, value, _ := strings.Cut(a, "=")
		t.Setenv(name, value)
	}
}

func isolatedEnv() []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + userKey,
		"AWS_SECRET_ACCESS_KEY=" + userToken,
		"AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=" + os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
		"AWS_REGION=" + region,
	}
}

func loadClient(t *testing.T) *Client {
	t.Helper()
	cfg, err := LoadConfig(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c := New(Config{AWS: cfg, Namespace: auditdrain.DefaultNamespace})
	t.Cleanup(c.Close)
	return c
}

func TestEndpoints(t *testing.T) {
	const fips, dual = "AWS_USE_FIPS_ENDPOINT=true", "AWS_USE_DUALSTACK_ENDPOINT=true"
	tests := []struct {
		env            []string
		bucket, region string
		s3, sts        string
	}{
		{nil, "logs", "us-east-1", "https://logs.s3.us-east-1.amazonaws.com", "sts.us-east-1.amazonaws.com"},
		{nil, "logs", "eu-west-1", "https://logs.s3.eu-west-1.amazonaws.com", "sts.eu-west-1.amazonaws.com"},
		{nil, "logs", "cn-north-1", "https://logs.s3.cn-north-1.amazonaws.com.cn", "sts.cn-north-1.amazonaws.com.cn"},
		{nil, "logs", "us-gov-west-1", "https://logs.s3.us-gov-west-1.amazonaws.com", "sts.us-gov-west-1.amazonaws.com"},
		{nil, "logs", "eusc-de-east-1", "https://logs.s3.eusc-de-east-1.amazonaws.eu", "sts.eusc-de-east-1.amazonaws.eu"},
		{nil, "logs", "us-iso-east-1", "https://logs.s3.us-iso-east-1.c2s.ic.gov", "sts.us-iso-east-1.c2s.ic.gov"},
		{nil, "logs", "us-isob-east-1", "https://logs.s3.us-isob-east-1.sc2s.sgov.gov", "sts.us-isob-east-1.sc2s.sgov.gov"},
		{nil, "logs", "eu-isoe-west-1", "https://logs.s3.eu-isoe-west-1.cloud.adc-e.uk", "sts.eu-isoe-west-1.cloud.adc-e.uk"},
		{nil, "logs", "us-isof-south-1", "https://logs.s3.us-isof-south-1.csp.hci.ic.gov", "sts.us-isof-south-1.csp.hci.ic.gov"},
		// No certificate of AWS's covers a.b.s3.….
		{nil, "a.b", "us-east-1", "https://s3.us-east-1.amazonaws.com/a.b", "sts.us-east-1.amazonaws.com"},
		{nil, "a.b", "cn-north-1", "https://s3.cn-north-1.amazonaws.com.cn/a.b", "sts.cn-north-1.amazonaws.com.cn"},

		{[]string{fips}, "logs", "us-east-1", "https://logs.s3-fips.us-east-1.amazonaws.com", "sts-fips.us-east-1.amazonaws.com"},
		{[]string{dual}, "logs", "us-east-1", "https://logs.s3.dualstack.us-east-1.amazonaws.com", "sts.us-east-1.api.aws"},
		{[]string{dual}, "logs", "cn-north-1", "https://logs.s3.dualstack.cn-north-1.amazonaws.com.cn", "sts.cn-north-1.api.amazonwebservices.com.cn"},
		{[]string{fips, dual}, "logs", "us-gov-west-1", "https://logs.s3-fips.dualstack.us-gov-west-1.amazonaws.com", "sts-fips.us-gov-west-1.api.aws"},
		{[]string{fips}, "a.b", "us-east-1", "https://s3-fips.us-east-1.amazonaws.com/a.b", "sts-fips.us-east-1.amazonaws.com"},

		{[]string{"AWS_ENDPOINT_URL_S3=http://127.0.0.1:9000"}, "logs", "us-east-1", "http://127.0.0.1:9000/logs", "sts.us-east-1.amazonaws.com"},
		{[]string{"AWS_ENDPOINT_URL_S3=http://minio:9000"}, "logs", "us-east-1", "http://minio:9000/logs", "sts.us-east-1.amazonaws.com"},
		{[]string{"AWS_ENDPOINT_URL_S3=https://store.example/s3/"}, "a.b", "us-east-1", "https://store.example/s3/a.b", "sts.us-east-1.amazonaws.com"},
		{[]string{"AWS_ENDPOINT_URL_STS=http://minio:9000"}, "logs", "us-east-1", "https://logs.s3.us-east-1.amazonaws.com", "minio:9000"},
		{[]string{"AWS_ENDPOINT_URL=http://minio:9000"}, "logs", "us-east-1", "http://minio:9000/logs", "minio:9000"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.region, " ", tt.bucket, " ", tt.env), func(t *testing.T) {
			awsEnv(t, append(tt.env, "AWS_REGION="+tt.region)...)
			c := loadClient(t)
			partition, _ := PartitionOf(tt.region)
			d := drain(func(d *auditdrain.Delivery) {
				d.Endpoint, d.Region = "s3://"+tt.bucket+"/p", tt.region
				d.RoleARN = "arn:" + partition + ":iam::111122223333:role/r"
			})
			dest, err := c.Open(d, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got := dest.base.String(); got != tt.s3 {
				t.Errorf("S3 at %s, want %s", got, tt.s3)
			}
			// Whom STS's client wants to talk to, it must be told by a dialer:
			// nothing leaves this process.
			c.transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, io.EOF }
			if e := putError(t, t.Context(), dest); e.Answer.Service != "sts" || e.Answer.Host != tt.sts {
				t.Errorf("STS at %s, want %s (%v)", e.Answer.Host, tt.sts, e)
			}
		})
	}
}

// Our table of partitions agrees with the SDK's rules.
func TestPartitions(t *testing.T) {
	c := New(Config{})
	for r := range regions {
		partition, suffix := iam.Partition(r)
		u, err := c.endpoint(auditdrain.Delivery{Endpoint: "s3://logs", Region: r})
		if err != nil {
			t.Fatal(err)
		}
		if want := "logs.s3." + r + "." + suffix; u.Host != want {
			t.Errorf("%s: the SDK has %s, we %s", r, u.Host, want)
		}
		if got, known := PartitionOf(r); got != partition || !known {
			t.Errorf("PartitionOf(%s) = %s, %t", r, got, known)
		}
	}
	if _, known := PartitionOf("us-east-9"); known {
		t.Error("us-east-9 is known")
	}
	// Those that the SDK's endpoint tables have, at the time of writing.
	for r := range strings.FieldsSeq(`af-south-1 ap-east-1 ap-east-2 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1
		ap-south-2 ap-southeast-1 ap-southeast-2 ap-southeast-3 ap-southeast-4 ap-southeast-5 ap-southeast-6 ap-southeast-7
		ca-central-1 ca-west-1 cn-north-1 cn-northwest-1 eu-central-1 eu-central-2 eu-isoe-west-1 eu-north-1 eu-south-1
		eu-south-2 eu-west-1 eu-west-2 eu-west-3 eusc-de-east-1 il-central-1 me-central-1 me-south-1 mx-central-1 sa-east-1
		us-east-1 us-east-2 us-gov-east-1 us-gov-west-1 us-iso-east-1 us-iso-west-1 us-isob-east-1 us-isob-west-1
		us-isof-east-1 us-isof-south-1 us-west-1 us-west-2`) {
		if _, known := PartitionOf(r); !known {
			t.Errorf("%s is not known", r)
		}
	}
}

// newCA returns a certificate authority's certificate in PEM, and a TLS
// configuration with one of its certificates for the hosts.
func newCA(t *testing.T, hosts ...string) (caPEM []byte, cfg *tls.Config) {
	t.Helper()
	issue := func(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		template.SerialNumber = big.NewInt(1)
		if signer == nil {
			parent, signer = template, key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert, key
	}
	ca, caKey := issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	leaf, leafKey := issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "test server"}, DNSNames: hosts, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca, caKey)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}),
		&tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: leafKey}}}
}

// serveTLS serves w under AWS's own host names, and returns its address and
// the file of the CA that it is certified by.
func (w *world) serveTLS(t *testing.T) (addr, caFile string) {
	t.Helper()
	caPEM, cfg := newCA(t, "*.s3.eu-west-1.amazonaws.com", "s3.eu-west-1.amazonaws.com", "sts.eu-west-1.amazonaws.com")
	leaktest.Check(t)
	srv := httptest.NewUnstartedServer(w.handler)
	srv.TLS = cfg
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail
	srv.StartTLS()
	t.Cleanup(srv.Close)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, caPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	return srv.Listener.Addr().String(), caFile
}

// dialTo leads every host to one server.
func dialTo(c *Client, addr string) {
	c.transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
}

// The hosts of AWS itself, both addressing styles, and AWS_CA_BUNDLE.
func TestVirtualHostedTLS(t *testing.T) {
	w := newSim(t)
	addr, caFile := w.serveTLS(t)
	awsEnv(t, "AWS_CA_BUNDLE="+caFile)
	c := loadClient(t)
	var mu sync.Mutex
	dialed := map[string]bool{}
	c.transport.DialContext = func(ctx context.Context, network, host string) (net.Conn, error) {
		mu.Lock()
		dialed[host] = true
		mu.Unlock()
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	for _, b := range []string{"acme-logs", "acme.logs"} {
		if err := w.AddBucket(awssim.Bucket{Name: b, Account: account, Region: region}); err != nil {
			t.Fatal(err)
		}
		d := mustOpen(t, c, func(d *auditdrain.Delivery) { d.Endpoint = "s3://" + b + "/a=b c+ж" })
		put := mustPut(t, d, event("uev_1"))
		if _, body := w.object(t, b, put.Key); body != string(event("uev_1").Body) {
			t.Errorf("object is %q", body)
		}
	}
	want := map[string]bool{"sts.eu-west-1.amazonaws.com:443": true, "acme-logs.s3.eu-west-1.amazonaws.com:443": true, "s3.eu-west-1.amazonaws.com:443": true}
	if d := cmp.Diff(want, dialed); d != "" {
		t.Errorf("hosts (-want +got):\n%s", d)
	}

	// Without the bundle nothing is trusted, and says so.
	os.Unsetenv("AWS_CA_BUNDLE")
	untrusting := loadClient(t)
	dialTo(untrusting, addr)
	e := putError(t, t.Context(), mustOpen(t, untrusting))
	if e.Class() != auditdrain.Transient {
		t.Errorf("%v (%v), want transient", e, e.Class())
	}
	contains(t, e.Error(), "no answer from sts.eu-west-1.amazonaws.com: TLS: the server's certificate is not trusted: x509: certificate signed by unknown authority")

	t.Setenv("AWS_CA_BUNDLE", filepath.Join(t.TempDir(), "missing"))
	if _, err := LoadConfig(t.Context(), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "load AWS configuration: ") {
		t.Errorf("LoadConfig with a missing bundle: %v", err)
	}
}

// proxy is an HTTP proxy through which every host leads to one server.
type proxy struct {
	tlsAddr string       // for CONNECT
	plain   http.Handler // for all else

	mu   sync.Mutex
	asks []string
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asks = append(p.asks, r.Method+" "+r.Host)
	p.mu.Unlock()
	if r.Method != http.MethodConnect {
		p.plain.ServeHTTP(w, r)
		return
	}
	to, err := net.Dial("tcp", p.tlsAddr)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer to.Close()
	from, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer from.Close()
	fmt.Fprint(from, "HTTP/1.1 200 OK\r\n\r\n")
	go func() {
		_, _ = io.Copy(to, from)
		to.Close()
	}()
	_, _ = io.Copy(from, to)
}

// asked returns what has been asked for since the last time, sorted.
func (p *proxy) asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	asks := slices.Compact(slices.Sorted(slices.Values(p.asks)))
	p.asks = nil
	return asks
}

// net/http reads the environment's proxies once in a process, hence another
// process.
func TestProxy(t *testing.T) {
	w := newSim(t)
	addr, caFile := w.serveTLS(t)
	p := &proxy{tlsAddr: addr, plain: w.handler}
	url := serve(t, p)
	tests := []struct {
		env  []string
		asks []string
	}{
		{[]string{"HTTPS_PROXY=" + url}, []string{
			"CONNECT " + bucket + ".s3.eu-west-1.amazonaws.com:443", "CONNECT sts.eu-west-1.amazonaws.com:443",
		}},
		{[]string{"HTTP_PROXY=" + url, "AWS_ENDPOINT_URL=http://aws.internal.example"}, []string{
			"POST aws.internal.example", "PUT aws.internal.example",
		}},
	}
	for _, tt := range tests {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = slices.Concat(isolatedEnv(), tt.env, []string{childEnv + "=1", "AWS_CA_BUNDLE=" + caFile})
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%q: %v: %s", tt.env, err, out)
		}
		w.object(t, bucket, strings.TrimSpace(string(out)))
		if d := cmp.Diff(tt.asks, p.asked()); d != "" {
			t.Errorf("%q: proxy was asked for (-want +got):\n%s", tt.env, d)
		}
	}
}

const childEnv = "S3_TEST_PUT"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(nullServerEnv) != "":
		nullServer()
		return
	case os.Getenv(childEnv) == "":
		os.Exit(m.Run())
	}
	cfg, err := LoadConfig(context.Background(), slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	dest, err := New(Config{AWS: cfg, Namespace: auditdrain.DefaultNamespace}).Open(drain(), Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	put, err := dest.Put(context.Background(), event("uev_1"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(put.Key)
}
