package versitygw

import (
	"bytes"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/versity/versitygw/tests/integration"

	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// groups are the parts of the suite that are run: all of what it has on
// PutObject, its bodies in chunks and its authentication by header. The rest
// is on operations and on ways of authentication (presigned URLs, forms,
// anonymous, versitygw's own users) that awssim does not serve, or serves only
// for tests to look at what a drain has written.
var groups = []string{
	"Authentication_", "PutObject_", "SignedStreamingPayload_", "SignedStreamingPayloadTrailer_",
	"UnsignedStreaminPayloadTrailer_", "UnsignedStreamingPayloadTrailer_",
}

// TestConformance runs them against awssim. The cases that fail are those of
// failing and no others: whoever mends one strikes it off.
func TestConformance(t *testing.T) {
	sim, err := awssim.New(awssim.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	const accessKey, secret = "AKIACONFORMANCE", "conformance-secret"
	if err := sim.AddUser(awssim.User{
		ARN: "arn:aws:iam::111122223333:user/conformance", AccessKeyID: accessKey, SecretKey: secret,
		Identity: []*iam.Policy{iam.MustParse(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}`)},
	}); err != nil {
		t.Fatal(err)
	}
	r := &reworder{next: sim.Handler(), used: map[string]bool{}}
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	conf := integration.NewS3Conf(integration.WithEndpoint(srv.URL), integration.WithRegion("us-east-1"),
		integration.WithAccess(accessKey), integration.WithSecret(secret))

	cases := integration.GetIntTests()
	ran := map[string]bool{}
	for _, group := range groups {
		names := slices.Sorted(maps.Keys(cases))
		names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, group) })
		if len(names) == 0 {
			t.Errorf("the suite has no case of %s", group)
		}
		for _, name := range names {
			ran[name] = true
			t.Run(name, func(t *testing.T) {
				r.said501.Store(false)
				err := cases[name](conf)
				switch reason, listed := failing[name]; {
				case err == nil && listed:
					t.Errorf("passes, so strike it off the list; it was there because: %s", reason)
				case err != nil && !listed:
					t.Error(err)
				case err != nil && strings.HasPrefix(reason, notSimulated) && !r.said501.Load():
					t.Errorf("awssim has not answered that it does not simulate this (%s): %v", reason, err)
				case err != nil:
					t.Logf("fails, as listed (%s): %v", reason, err)
				}
			})
		}
	}
	if len(failing) != mostFailing {
		t.Errorf("%d cases are listed, want %d: write down the number that a shorter list has, and never a longer one", len(failing), mostFailing)
	}
	for name := range failing {
		if !ran[name] {
			t.Errorf("the list has %s, and the groups that are run have not", name)
		}
	}
	for message := range wording {
		if !r.used[message] {
			t.Errorf("awssim never answered %q, so strike it off the messages", message)
		}
	}
}

// reworder puts versitygw's messages in the place of AWS's, so that a case
// which differs in nothing else is run to its end.
type reworder struct {
	next    http.Handler
	said501 atomic.Bool // since it was last set to false

	mu   sync.Mutex
	used map[string]bool
}

func (r *reworder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	rec := httptest.NewRecorder()
	r.next.ServeHTTP(rec, req)
	if rec.Code == http.StatusNotImplemented {
		r.said501.Store(true)
	}
	body := rec.Body.Bytes()
	for message, theirs := range wording {
		before, after, found := bytes.Cut(body, []byte("<Message>"+message+"</Message>"))
		if !found {
			continue
		}
		body = slices.Concat(before, []byte("<Message>"+theirs+"</Message>"), after)
		rec.Header().Set("Content-Length", strconv.Itoa(len(body)))
		r.mu.Lock()
		r.used[message] = true
		r.mu.Unlock()
	}
	maps.Copy(w.Header(), rec.Header())
	w.WriteHeader(rec.Code)
	_, _ = w.Write(body) // whoever hung up need not be told
}
