package versitygw

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/versity/versitygw/iamapi/storage"
	"github.com/versity/versitygw/iamapi/types"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// What the service runs as: a user's key, with which it assumes the writer
// role, which customers' roles trust.
const (
	userARN    = "arn:aws:iam::977805900156:user/auditdrain"
	userKey    = "AKIAAUDITDRAIN"
	userSecret = "user-secret"
	writerARN  = "arn:aws:iam::977805900156:role/vercel-drains-s3-writer"

	assumeAny = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}]}`
)

// tokenService is awssim's STS, which decides by trust policy and external ID
// as AWS does, and every session of which is one of versitygw's too.
type tokenService struct {
	url   string
	sim   *awssim.Sim
	store storage.Storer

	mu       sync.Mutex
	roles    map[string]types.Role // by ARN
	sessions []types.Session       // in the order in which they were made
	change   func(*types.Session)  // what versitygw is told otherwise, or nil
}

func newTokenService(t *testing.T, store storage.Storer) *tokenService {
	t.Helper()
	sim, err := awssim.New(awssim.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		sim.AddUser(awssim.User{ARN: userARN, AccessKeyID: userKey, SecretKey: userSecret, Identity: []*iam.Policy{iam.MustParse(assumeAny)}}),
		sim.AddRole(awssim.Role{
			ARN: writerARN, Identity: []*iam.Policy{iam.MustParse(assumeAny)},
			Trust: iam.MustParse(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "` + userARN + `"}, "Action": "sts:AssumeRole"}]}`),
		}),
	); err != nil {
		t.Fatal(err)
	}
	s := &tokenService{sim: sim, store: store, roles: map[string]types.Role{}}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

// addRole makes a role, known to awssim by its trust policy and to versitygw
// by its permissions.
func (s *tokenService) addRole(t *testing.T, arn, trust, permissions string) {
	t.Helper()
	parsed, ok := auditdrain.ParseRoleARN(arn)
	if !ok {
		t.Fatalf("%s is not a role's ARN", arn)
	}
	policy, err := iam.Parse([]byte(trust))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.sim.AddRole(awssim.Role{ARN: arn, Trust: policy}); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	role := types.Role{
		RoleName: parsed.Name, RoleID: fmt.Sprintf("AROA%016d", len(s.roles)), Arn: arn,
		Path: "/", CreateDate: time.Now(), AssumeRolePolicyDocument: trust,
	}
	if _, err := s.store.CreateRole(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	if permissions != "" {
		if err := s.store.PutRolePolicy(t.Context(), storage.PutRolePolicyInput{
			RoleName: parsed.Name, PolicyName: "write", PolicyDocument: permissions,
		}); err != nil {
			t.Fatal(err)
		}
	}
	s.roles[arn] = role
}

// tellOtherwise has versitygw told otherwise of all further sessions.
func (s *tokenService) tellOtherwise(change func(*types.Session)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change = change
}

// assumed returns the sessions of customers' roles so far.
func (s *tokenService) assumed() []types.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sessions)
}

func (s *tokenService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	rec := httptest.NewRecorder()
	s.sim.Handler().ServeHTTP(rec, r)
	if rec.Code == http.StatusOK {
		form, _ := url.ParseQuery(string(body)) // awssim could
		if err := s.mint(r, form, rec.Body.Bytes()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	maps.Copy(w.Header(), rec.Header())
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes())
}

// mint makes a session that awssim has answered with one of versitygw's, if
// it is of a role that versitygw knows.
func (s *tokenService) mint(r *http.Request, form url.Values, answer []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	role, ok := s.roles[form.Get("RoleArn")]
	if !ok {
		return nil
	}
	var parsed struct {
		Credentials struct {
			AccessKeyId, SecretAccessKey, SessionToken string
			Expiration                                 time.Time
		} `xml:"AssumeRoleResult>Credentials"`
	}
	if err := xml.Unmarshal(answer, &parsed); err != nil {
		return fmt.Errorf("read awssim's answer: %w", err)
	}
	creds := parsed.Credentials
	session := types.Session{
		AccessKeyId: creds.AccessKeyId, SecretAccessKey: creds.SecretAccessKey, SessionToken: creds.SessionToken,
		RoleArn: role.Arn, RoleName: role.RoleName, RoleID: role.RoleID, RoleSessionName: form.Get("RoleSessionName"),
		CreateDate: time.Now(), Expiration: creds.Expiration, Policy: form.Get("Policy"),
	}
	s.sessions = append(s.sessions, session)
	if s.change != nil {
		s.change(&session)
	}
	_, err := s.store.CreateSession(r.Context(), session)
	return err
}
