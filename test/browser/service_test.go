package browser

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
)

const operatorToken = "ad_BrowserBrowserBrowserBrowser1234"

// service is a running auditdrain and the AWS that it finds.
type service struct {
	t        *testing.T
	aws      *cloud
	url      string
	operator *client.Client
	http     *http.Client
	data     string // the store's folder
	flags    []string

	cmd  *exec.Cmd
	log  *logged
	done chan struct{} // closed when it has ended and been waited for
}

// newService starts auditdrain with a store and an AWS of its own. It has to
// end with success when the test does.
func newService(t *testing.T, flags ...string) *service {
	t.Helper()
	s := &service{t: t, aws: newCloud(t), data: t.TempDir(), flags: flags,
		http: &http.Client{Transport: &http.Transport{}, Timeout: patience}}
	t.Cleanup(s.http.CloseIdleConnections)
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("log of auditdrain:\n%s", s.log)
		}
	})
	s.log = &logged{}
	s.start()
	return s
}

func (s *service) start() {
	s.t.Helper()
	args := append([]string{"serve", "--listen", "127.0.0.1:0", "--data", s.data, "--writer-role-arn", writerARN}, s.flags...)
	s.cmd = exec.Command(binary, args...)
	s.cmd.Dir = s.t.TempDir()
	s.cmd.Env = []string{
		"HOME=" + s.cmd.Dir,
		"TMPDIR=" + os.TempDir(),
		"AUDITDRAIN_OPERATOR_TOKEN=" + operatorToken,
		"AWS_ENDPOINT_URL_S3=" + s.aws.url,
		"AWS_ENDPOINT_URL_STS=" + s.aws.url,
		"AWS_REGION=" + homeRegion,
		"AWS_ACCESS_KEY_ID=" + accessKey,
		"AWS_SECRET_ACCESS_KEY=" + secretKey,
		"AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=" + os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
	}
	stderr, err := s.cmd.StderrPipe()
	must(s.t, err)
	must(s.t, s.cmd.Start())
	s.done = make(chan struct{})
	listening := make(chan string, 1)
	go s.follow(stderr, listening)
	select {
	case s.url = <-listening:
	case <-s.done:
		s.t.Fatalf("auditdrain has ended:\n%s", s.log)
	case <-time.After(patience):
		s.t.Fatalf("auditdrain does not listen:\n%s", s.log)
	}
	s.operator = s.client(operatorToken)
}

var listeningRE = regexp.MustCompile(`is listening" url=(http://\S+)`)

// follow reads the service's log until it has ended.
func (s *service) follow(stderr io.Reader, listening chan<- string) {
	defer close(s.done)
	lines := bufio.NewScanner(io.TeeReader(stderr, s.log))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if m := listeningRE.FindStringSubmatch(lines.Text()); m != nil {
			listening <- m[1]
		}
	}
	_, _ = io.Copy(s.log, stderr)
	_ = s.cmd.Wait() // told by ProcessState
}

// stop ends the service as its supervisor would.
func (s *service) stop() {
	s.t.Helper()
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Error(err)
	}
	select {
	case <-s.done:
	case <-time.After(patience):
		_ = s.cmd.Process.Kill() // it may have ended just now
		<-s.done
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		s.t.Errorf("auditdrain has ended with code %d, want 0", code)
	}
	s.cmd = nil
}

// logged is what a process has written.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (s *service) client(token string) *client.Client {
	s.t.Helper()
	c, err := client.New(s.url, token, client.WithHTTPClient(s.http))
	must(s.t, err)
	return c
}

// team is a customer of the platform.
type team struct {
	svc      *service
	id, name string
}

// newTeam creates the team with the ID team_NAME, in lower case.
func (s *service) newTeam(name string) team {
	s.t.Helper()
	slug := strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(name), "-"), "-")
	made, err := s.operator.CreateTeam(s.t.Context(), auditdrain.TeamInput{ID: "team_" + slug, Slug: slug, Name: name})
	must(s.t, err)
	return team{svc: s, id: made.ID, name: made.Name}
}

// token makes one of the team's.
func (tm team) token(role auditdrain.Role) auditdrain.NewToken {
	tm.svc.t.Helper()
	made, err := tm.svc.operator.CreateToken(tm.svc.t.Context(), auditdrain.TokenInput{Name: string(role) + " of " + tm.name, Role: role, TeamID: tm.id})
	must(tm.svc.t, err)
	return made
}

// portalLink is the URL that lets an owner in.
func (tm team) portalLink(in auditdrain.PortalLinkInput) string {
	tm.svc.t.Helper()
	in.TeamID = tm.id
	link, err := tm.svc.operator.CreatePortalLink(tm.svc.t.Context(), in)
	must(tm.svc.t, err)
	return link.URL
}

// drain sets up on AWS what d needs, and creates it.
func (tm team) drain(name string, d auditdrain.Delivery) auditdrain.Drain {
	tm.svc.t.Helper()
	d = d.WithDefaults()
	tm.svc.aws.setUp(tm.id, d)
	made, err := tm.svc.operator.CreateDrain(tm.svc.t.Context(), tm.id, auditdrain.DrainInput{Name: name, Schemas: auditdrain.AuditLogSchemas(), Delivery: &d})
	must(tm.svc.t, err)
	return made
}

// send sends n events of the team, whose IDs begin with prefix.
func (tm team) send(prefix string, n int) {
	tm.svc.t.Helper()
	var body bytes.Buffer
	for i := range n {
		fmt.Fprintf(&body, `{"id":"%s_%d","action":"member.invited","timestamp":%d,"actor":{"id":"usr_1","type":"user","name":"Ada Lovelace"}}`+"\n", prefix, i, time.Now().UnixMilli())
	}
	tm.sendLines(body.Bytes())
}

func (tm team) sendLines(ndjson []byte) {
	tm.svc.t.Helper()
	_, err := tm.svc.operator.SendEvents(tm.svc.t.Context(), tm.id, ndjson)
	must(tm.svc.t, err)
}

// eventually asks until ok, for what can only be seen by asking.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if !poll(t.Context(), ok) {
		t.Fatalf("not within %s: %s", patience, what)
	}
}

// poll asks until ok, and reports whether it was before patience and ctx end.
func poll(ctx context.Context, ok func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !ok() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
