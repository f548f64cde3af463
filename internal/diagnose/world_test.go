package diagnose_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/diagnose"
	"github.com/auditdrain/auditdrain/internal/iam"
	"github.com/auditdrain/auditdrain/internal/leaktest"
	"github.com/auditdrain/auditdrain/internal/s3"
)

const (
	platform  = "977805900156"
	customer  = "111122223333"
	stranger  = "444455556666"
	region    = "eu-west-1"
	bucket    = "acme-audit-archive"
	prefix    = "audit/acme"
	teamID    = "team_123"
	userARN   = "arn:aws:iam::977805900156:user/auditdrain"
	userKey   = "AKIAAUDITDRAIN"
	secretKey = "secret/of+ours"
	writerARN = "arn:aws:iam::977805900156:role/vercel-drains-s3-writer"
	roleARN   = "arn:aws:iam::111122223333:role/drains/audit-drain"
	keyARN    = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
)

// aws is the simulated AWS of the test that runs. Its requests come to AWS's
// own host names, by a proxy, so that what depends on them is real.
var aws atomic.Pointer[awssim.Sim]

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "diagnose")
		if err != nil {
			log.Fatal(err)
		}
		defer os.RemoveAll(dir)
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			aws.Load().Handler().ServeHTTP(w, r)
		}))
		caFile := filepath.Join(dir, "ca.pem")
		server.TLS = certificate(caFile, "sts.eu-west-1.amazonaws.com", "*.s3.eu-west-1.amazonaws.com", "*.s3.us-west-2.amazonaws.com", "*.s3.af-south-1.amazonaws.com", "sts.cn-north-1.amazonaws.com.cn")
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.StartTLS()
		defer server.Close()
		proxy := httptest.NewServer(connectTo(server.Listener.Addr().String()))
		defer proxy.Close()
		for _, a := range os.Environ() {
			if name, _, _ := strings.Cut(a, "="); strings.HasPrefix(name, "AWS_") || strings.HasSuffix(strings.ToLower(name), "_proxy") {
				os.Unsetenv(name)
			}
		}
		for name, value := range map[string]string{
			"HTTPS_PROXY": proxy.URL, "AWS_CA_BUNDLE": caFile, "AWS_REGION": region,
			"AWS_ACCESS_KEY_ID": userKey, "AWS_SECRET_ACCESS_KEY": secretKey,
			"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
		} {
			os.Setenv(name, value)
		}
		return m.Run()
	}())
}

// certificate makes a certificate for hosts that certifies itself, and writes
// it to caFile.
func certificate(caFile string, hosts ...string) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: hosts,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err == nil {
		err = os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
	}
	if err != nil {
		log.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// connectTo is a proxy that leads every CONNECT to one server.
func connectTo(addr string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		server, err := net.Dial("tcp", addr)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer server.Close()
		client, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer client.Close()
		fmt.Fprint(client, "HTTP/1.1 200 OK\r\n\r\n")
		done := make(chan struct{})
		go func() {
			defer close(done)
			io.Copy(server, client)
			server.(*net.TCPConn).CloseWrite()
		}()
		io.Copy(client, server)
		client.(*net.TCPConn).CloseWrite()
		<-done
	})
}

// world is an AWS in which a drain works, until something is broken.
type world struct {
	*awssim.Sim
	calls    awssim.Calls
	drain    auditdrain.Drain
	env      map[string]string // set for the client
	endpoint string            // of everything, instead of AWS's own hosts
	faulty   bool              // no change of a policy mends it
}

func (w *world) SetFault(f func(awssim.FaultRequest) awssim.Fault) {
	w.faulty = true
	w.Sim.SetFault(f)
}

// newWorld returns a world whose policies are those that we generate. With
// kms, the bucket encrypts with a customer managed key.
func newWorld(t *testing.T, kms bool, prefix string) *world {
	t.Helper()
	leaktest.Check(t)
	sim, err := awssim.New(awssim.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Sim: sim, env: map[string]string{}}
	sim.Observe(w.calls.Add)
	endpoint := "s3://" + bucket
	if prefix != "" {
		endpoint += "/" + prefix
	}
	w.drain = auditdrain.NewDrain(teamID, "archive", auditdrain.Delivery{
		Type: "s3", Endpoint: endpoint, Encoding: "json", RoleARN: roleARN, Region: region,
	}.WithDefaults(), time.Now())
	grant := w.grant()
	b := awssim.Bucket{Name: bucket, Account: customer, Region: region}
	if kms {
		grant.KMSKeyARN = keyARN
		b.Encryption = awssim.Encryption{Algorithm: "aws:kms", KMSKeyARN: keyARN}
		b.Ownership = awssim.BucketOwnerPreferred
	}
	mayAssume := []*iam.Policy{policy(allow("sts:AssumeRole", "*"))}
	if err := errors.Join(
		sim.AddUser(awssim.User{ARN: userARN, AccessKeyID: userKey, SecretKey: secretKey, Identity: mayAssume}),
		sim.AddRole(awssim.Role{ARN: writerARN, Trust: trust(userARN, ""), Identity: mayAssume}),
		sim.AddRole(awssim.Role{ARN: roleARN, Trust: iam.MustParse(grant.TrustPolicy()), Identity: []*iam.Policy{iam.MustParse(grant.PermissionsPolicy())}}),
		sim.AddBucket(b),
	); err != nil {
		t.Fatal(err)
	}
	if kms {
		if err := sim.AddKey(awssim.Key{ARN: keyARN, Policy: policy(grant.KeyPolicyStatement())}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) grant() iam.Grant {
	g := iam.GrantFor(w.drain.Delivery)
	g.WriterRoleARN, g.ExternalID = writerARN, "vercel-team:"+teamID
	return g
}

// grantFor is the grant with a KMS key.
func (w *world) grantFor(keyARN string) iam.Grant {
	g := w.grant()
	g.KMSKeyARN = keyARN
	return g
}

// tester returns what serve would put together.
func (w *world) tester(t *testing.T) (diagnose.Tester, *s3.Client) {
	t.Helper()
	aws.Store(w.Sim)
	if w.endpoint != "" {
		t.Setenv("AWS_ENDPOINT_URL", w.endpoint)
	}
	for name, value := range w.env {
		t.Setenv(name, value)
	}
	cfg, err := s3.LoadConfig(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	client := s3.New(s3.Config{AWS: cfg, Namespace: auditdrain.DefaultNamespace, WriterRoleARN: writerARN})
	t.Cleanup(client.Close)
	return diagnose.Tester{AWS: client, Explainer: diagnose.Explainer{
		Namespace: auditdrain.DefaultNamespace, WriterARN: client.KnownWriterARN,
	}}, client
}

// lag breaks the world until an operation on the customer's role or bucket has
// been refused once.
func (w *world) lag(op string, broken func(*world)) {
	identity, trusted := []*iam.Policy{iam.MustParse(w.grant().PermissionsPolicy())}, iam.MustParse(w.grant().TrustPolicy())
	broken(w)
	w.Observe(func(c awssim.Call) {
		if c.Op == op && c.Code == "AccessDenied" {
			role(func(r *awssim.Role) { r.Identity, r.Trust = identity, trusted })(w)
		}
	})
}

// serveOnLoopback has all calls go to 127.0.0.1, as to a store that is
// compatible with S3.
func (w *world) serveOnLoopback(t *testing.T) {
	t.Helper()
	srv := httptest.NewServer(w.Handler())
	t.Cleanup(srv.Close)
	w.endpoint = srv.URL
}

func (w *world) test(t *testing.T) auditdrain.DrainTestResult {
	t.Helper()
	tester, _ := w.tester(t)
	result, err := tester.Test(t.Context(), w.drain, event())
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func event() auditdrain.Event {
	return auditdrain.Event{ID: "uev_test_1", Timestamp: 1779444000123, Body: []byte(`{"id":"uev_test_1"}`)}
}

// deliver makes the delivery that a drain would, without any further call.
func (w *world) deliver(t *testing.T) error {
	t.Helper()
	_, client := w.tester(t)
	dest, err := client.Open(w.drain, s3.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer dest.Close()
	_, err = dest.Put(context.WithoutCancel(t.Context()), event())
	return err
}

// noObjects makes sure that nothing has been written.
func (w *world) noObjects(t *testing.T) {
	t.Helper()
	objects, err := w.Objects(bucket)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		t.Errorf("object %s was written", o.Key)
	}
}

// policy is a document of these statements.
func policy(statements ...string) *iam.Policy {
	return iam.MustParse(`{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`)
}

func allow(action, resource string) string {
	return fmt.Sprintf(`{"Effect":"Allow","Action":%q,"Resource":%q}`, action, resource)
}

// deny is a statement of a resource's policy if principal is not empty.
func deny(principal, action, condition string) string {
	if principal != "" {
		principal = fmt.Sprintf(`"Principal":%q,`, principal)
	}
	if condition != "" {
		condition = `,"Condition":` + condition
	}
	return fmt.Sprintf(`{"Effect":"Deny",%s"Action":%q,"Resource":"*"%s}`, principal, action, condition)
}

// trust is a trust policy, without a condition if the external ID is empty.
func trust(principal, externalID string) *iam.Policy {
	condition := ""
	if externalID != "" {
		condition = fmt.Sprintf(`,"Condition":{"StringEquals":{"sts:ExternalId":%q}}`, externalID)
	}
	return policy(fmt.Sprintf(`{"Effect":"Allow","Principal":{"AWS":%q},"Action":"sts:AssumeRole"%s}`, principal, condition))
}
