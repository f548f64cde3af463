package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
)

// service is a running `auditdrain serve`, and a client of its operator.
type service struct {
	*process
	url  string
	http *http.Client
	api  *client.Client
}

// serve starts the service on a folder and waits until it listens.
func serve(t *testing.T, awsURL, data string, args ...string) *service {
	t.Helper()
	return serviceOf(start(t, binary(t), environment(t, awsURL, "AUDITDRAIN_OPERATOR_TOKEN="+operatorToken), serveArgs(data, args...)...))
}

// serviceOf waits until the process listens.
func serviceOf(p *process) *service {
	p.t.Helper()
	url := p.url()
	hc := newHTTPClient(p.t)
	return &service{process: p, url: url, http: hc, api: newClient(p.t, hc, url)}
}

func serveArgs(data string, more ...string) []string {
	return append([]string{"serve", "--listen", "127.0.0.1:0", "--data", data, "--writer-role-arn", writerRole}, more...)
}

// get returns status, header and body of an answer.
func (s *service) get(path string) (int, http.Header, string) {
	s.t.Helper()
	resp, err := s.http.Get(s.url + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(body)
}

// oneTeam is a team with one drain in an AWS that lets it write.
func oneTeam(t *testing.T, aws *cloud) *team {
	t.Helper()
	tm := newTeams()[1]
	aws.addTargets("vercel-team:"+tm.team, tm.targets...)
	return tm
}

func TestSecondProcess(t *testing.T) {
	data := t.TempDir()
	first := serve(t, "", data)
	second := run(t, environment(t, ""), serveArgs(data)...)
	want := "auditdrain: open data directory " + data + ": it is in use by another auditdrain process\n"
	if code, got := second.code(), second.stderr.String(); code != 1 || got != want {
		t.Errorf("code %d, stderr %q, want 1, %q", code, got, want)
	}
	if status, _, _ := first.get("/readyz"); status != 200 {
		t.Errorf("the first process answers %d after that", status)
	}
	first.stop()
	serve(t, "", data).stop() // and the folder is free again
}

func TestUsage(t *testing.T) {
	for name, tc := range map[string]struct {
		args, env []string
		stderr    string
	}{
		"unknown flag":     {args: []string{"--dataa", "x"}, stderr: "unknown flag: --dataa: did you mean --data?"},
		"unknown variable": {env: []string{"AUDITDRAIN_RETIAN=1h"}, stderr: "environment variable AUDITDRAIN_RETIAN is not known: did you mean AUDITDRAIN_RETAIN?"},
		"argument":         {args: []string{"now"}, stderr: `unknown command "now" for "auditdrain serve"`},
		"namespace":        {args: []string{"--namespace", "Acme"}, stderr: `--namespace: "Acme" is not allowed: use a lower-case letter`},
		"writer role":      {args: []string{"--writer-role-arn", "arn:aws:iam::1:user/x"}, stderr: `--writer-role-arn: "arn:aws:iam::1:user/x" is not an IAM role ARN`},
		"unsafe roles":     {args: []string{"--unsafe-roles", "allow"}, stderr: `--unsafe-roles: "allow" is not allowed: use warn or refuse`},
		"negative retain":  {args: []string{"--retain", "-1h"}, stderr: "--retain: -1h0m0s is not allowed: use 0s or more"},
		"retain":           {args: []string{"--retain", "1week"}, stderr: `invalid argument "1week" for "--retain" flag`},
		"retain variable":  {env: []string{"AUDITDRAIN_RETAIN=1week"}, stderr: `AUDITDRAIN_RETAIN: invalid value "1week"`},
		"log format":       {args: []string{"--log-format", "xml"}, stderr: `--log-format: "xml" is not allowed: use text or json`},
		"put timeout":      {args: []string{"--put-timeout", "0s"}, stderr: "--put-timeout: 0s is not allowed: use more than 0s"},
		"sts timeout":      {args: []string{"--sts-timeout", "-1s"}, stderr: "--sts-timeout: -1s is not allowed: use more than 0s"},
		"shutdown timeout": {args: []string{"--shutdown-timeout", "0s"}, stderr: "--shutdown-timeout: 0s is not allowed"},
		"notify URL":       {args: []string{"--notify-url", "http://hooks.example.com/"}, stderr: `--notify-url: "http://hooks.example.com/" is not allowed: use https, or http on this machine`},
		"anchor URL":       {args: []string{"--anchor-url", "http://anchors.example.com/"}, stderr: `--anchor-url: "http://anchors.example.com/" is not allowed: use https, or http on this machine`},
		"anchor password":  {args: []string{"--anchor-url", "https://me:hunter2@anchors.example.com/"}, stderr: `--anchor-url: "https://me:xxxxx@anchors.example.com/" is not allowed: use a URL without user, password and fragment`},
		"public URL":       {args: []string{"--public-url", "https://audit.example.com/audit?x"}, stderr: "--public-url: \"https://audit.example.com/audit?x\" is not allowed: use http:// or https:// and a host, without a path"},
		"notify delay":     {args: []string{"--notify-delay", "-1s"}, stderr: "--notify-delay: -1s is not allowed: use 0s or more"},
		"no secret":        {args: []string{"--notify-url", "https://hooks.example.com/"}, stderr: "AUDITDRAIN_NOTIFY_SECRET: a secret is needed: use whsec_ and the output of openssl rand -base64 32"},
		"short secret":     {args: []string{"--notify-url", "https://hooks.example.com/"}, env: []string{"AUDITDRAIN_NOTIFY_SECRET=whsec_c2VjcmV0"}, stderr: "AUDITDRAIN_NOTIFY_SECRET: a secret of 14 characters is not allowed"},
		"only a secret":    {env: []string{"AUDITDRAIN_NOTIFY_SECRET=whsec_c2VjcmV0"}, stderr: "AUDITDRAIN_NOTIFY_SECRET is of no use without --notify-url"},
		"operator token":   {env: []string{"AUDITDRAIN_OPERATOR_TOKEN=hunter2"}, stderr: "AUDITDRAIN_OPERATOR_TOKEN is not allowed: use at least 24 letters and digits in a row"},
		"lease":            {args: []string{"--postgres", "postgres://127.0.0.1/", "--lease", "10ms"}, stderr: "--lease: 10ms is not allowed: use 1s or more"},
		"node name":        {args: []string{"--postgres", "postgres://127.0.0.1/", "--node-name", "a b"}, stderr: `--node-name: "a b" is not allowed: use up to 40 letters, digits`},
		"no token":         {args: []string{"--postgres", "postgres://u:hunter2@127.0.0.1/"}, stderr: "--postgres needs AUDITDRAIN_OPERATOR_TOKEN, the same for all processes"},
		"debug address":    {args: []string{"--debug-listen", "0.0.0.0:6060"}, stderr: `--debug-listen: "0.0.0.0:6060" is not allowed: use a loopback address and a port`},
		"debug port":       {args: []string{"--debug-listen", ":6060"}, stderr: `--debug-listen: ":6060" is not allowed: use a loopback address and a port`},
	} {
		t.Run(name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			args := append([]string{"serve", "--listen", "127.0.0.1:0", "--data", data}, tc.args...)
			p := run(t, environment(t, "", tc.env...), args...)
			got := p.stderr.String()
			if code := p.code(); code != 2 || !strings.HasPrefix(got, "auditdrain: "+tc.stderr) || strings.Count(got, "\n") != 1 {
				t.Errorf("code %d, stderr %q, want 2 and the one line %q", code, got, tc.stderr)
			}
			if strings.Contains(got, "hunter2") || strings.Contains(got, "c2VjcmV0") {
				t.Errorf("stderr %q shows the secret", got)
			}
			if _, err := os.Stat(data); !os.IsNotExist(err) {
				t.Errorf("the data folder was touched: %v", err)
			}
		})
	}
}

func TestSettingsFromEnvironment(t *testing.T) {
	data := t.TempDir()
	p := start(t, binary(t), environment(t, "",
		"AUDITDRAIN_LISTEN=127.0.0.1:0", "AUDITDRAIN_DATA="+data, "AUDITDRAIN_NAMESPACE=acme", "AUDITDRAIN_LOG_FORMAT=json"), "serve")
	hc := newHTTPClient(t)
	api, err := client.New(p.url(), readOperatorToken(t, data), client.WithHTTPClient(hc))
	if err != nil {
		t.Fatal(err)
	}
	tm := newTeams()[0]
	if _, err := api.CreateTeam(t.Context(), auditdrain.TeamInput{ID: tm.team, Slug: "acme", Name: "Acme"}); err != nil {
		t.Fatal(err)
	}
	d, err := api.CreateDrain(t.Context(), tm.team, auditdrain.DrainInput{Name: "x", Schemas: auditdrain.AuditLogSchemas(), Delivery: tm.targets[0].delivery()})
	if err != nil {
		t.Fatal(err)
	}
	if want := "acme-team:" + tm.team; d.ExternalID != want {
		t.Errorf("external ID %q, want %q", d.ExternalID, want)
	}
	p.stop()
}

func readOperatorToken(t *testing.T, data string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(data, "operator-token"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(content))
}

func TestOperatorToken(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	path := filepath.Join(data, "operator-token")
	hc := newHTTPClient(t)
	var token string
	for _, again := range []bool{false, true} {
		p := start(t, binary(t), environment(t, ""), serveArgs(data)...)
		url := p.url()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode(); mode != 0o600 {
			t.Errorf("mode %v, want -rw-------", mode)
		}
		if before := token; again && readOperatorToken(t, data) != before {
			t.Error("the second start has changed the token")
		}
		token = readOperatorToken(t, data)
		if !regexp.MustCompile(`^ad_[A-Za-z0-9]{32,}$`).MatchString(token) {
			t.Errorf("token %q", token)
		}
		api, err := client.New(url, token, client.WithHTTPClient(hc))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := api.ListTeams(t.Context()); err != nil {
			t.Error(err)
		}
		p.stop()
		log := p.stderr.String()
		if wrote := strings.Contains(log, path); wrote == again {
			t.Errorf("second start %v: log names %s: %v", again, path, wrote)
		}
		if strings.Contains(log, token) || strings.Contains(p.stdout.String(), token) {
			t.Error("the token's value was printed")
		}
	}
}

func TestOperatorTokenFromEnvironment(t *testing.T) {
	data := t.TempDir()
	s := serve(t, "", data)
	if _, err := s.api.ListTeams(t.Context()); err != nil {
		t.Error(err)
	}
	wrong, err := client.New(s.url, operatorToken+"x", client.WithHTTPClient(s.http))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wrong.ListTeams(t.Context()); auditdrain.ErrorCode(err) != auditdrain.CodeUnauthorized {
		t.Errorf("error %v with another token, want unauthorized", err)
	}
	s.stop()
	if _, err := os.Stat(filepath.Join(data, "operator-token")); !os.IsNotExist(err) {
		t.Errorf("a token was written although one was given: %v", err)
	}
	if strings.Contains(s.stderr.String(), operatorToken) {
		t.Error("the token's value was logged")
	}
}

func TestAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	data := t.TempDir()
	p := run(t, environment(t, ""), "serve", "--data", data, "--listen", l.Addr().String())
	last := lastLine(p.stderr.String())
	if code := p.code(); code != 1 || !strings.HasPrefix(last, "auditdrain: listen") || !strings.Contains(last, l.Addr().String()+": bind: address already in use") {
		t.Errorf("code %d, stderr %q", code, p.stderr)
	}
	serve(t, "", data).stop() // the folder is as good as new
}

func lastLine(text string) string {
	text = strings.TrimSuffix(text, "\n")
	return text[strings.LastIndexByte(text, '\n')+1:]
}

func TestNewerFormatIsRefused(t *testing.T) {
	data := t.TempDir()
	serve(t, "", data).stop()
	setFormat(t, data, "3")
	p := run(t, environment(t, ""), serveArgs(data)...)
	want := "auditdrain: open data directory " + data + `: it was written by a newer version of auditdrain (layout "3"; this version knows "2")` + "\n"
	if code, got := p.code(), p.stderr.String(); code != 1 || got != want {
		t.Errorf("code %d, stderr %q, want 1, %q", code, got, want)
	}
	setFormat(t, data, "2")
	serve(t, "", data).stop()
}

// setFormat marks a folder as written with another layout.
func setFormat(t *testing.T, data, version string) {
	t.Helper()
	db, err := pebble.Open(data, &pebble.Options{FormatMajorVersion: pebble.FormatTableFormatV6, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	must(t, db.Set([]byte("!format"), []byte(version), pebble.Sync), db.Close())
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(string, ...any) {}

func TestJSONLog(t *testing.T) {
	s := serve(t, "", t.TempDir(), "--log-format", "json")
	s.stop()
	messages := map[string]bool{}
	lines := bufio.NewScanner(strings.NewReader(s.stderr.String()))
	for lines.Scan() {
		var line struct {
			Time  time.Time `json:"time"`
			Level string    `json:"level"`
			Msg   string    `json:"msg"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil || line.Time.IsZero() || line.Level == "" || line.Msg == "" {
			t.Errorf("line %q: %v", lines.Text(), err)
		}
		messages[line.Msg] = true
	}
	for _, m := range []string{"auditdrain is listening", "shutting down", "stopped"} {
		if !messages[m] {
			t.Errorf("no line says %q", m)
		}
	}
}

func TestHealthAndMetrics(t *testing.T) {
	aws := newCloud(t)
	tm := oneTeam(t, aws)
	s := serve(t, aws.url, t.TempDir())
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, _, body := s.get(path); status != 200 || body != `{"status":"ok"}`+"\n" {
			t.Errorf("%s answers %d %q", path, status, body)
		}
	}
	tm.setUp(t, s.http, s.api)
	src := newSource(newRand(1, 1), tm.team)
	sent := []event{src.event(), src.event(), src.event()}
	for range 2 {
		if a := tm.post(t, s.url, plainly(sent...)); a.status != 200 {
			t.Fatal(a)
		}
	}
	aws.awaitObjects(len(sent))
	// The deliveries are counted after AWS has counted them.
	eventually(t, "3 deliveries in /metrics", func() bool {
		return s.metric("auditdrain_deliveries_total", "result", "written") == 3
	})
	// A team, a token and a drain were created, which are events too.
	eventually(t, "6 accepted events in /metrics", func() bool {
		return s.metric("auditdrain_ingest_events_total", "result", "accepted") == 6
	})
	for _, tc := range []struct {
		name, label, value string
		want               float64
	}{
		{"auditdrain_ingest_events_total", "result", "duplicate", 3},
		{"auditdrain_deliveries_total", "result", "existed", 0},
		{"auditdrain_delivery_latency_seconds", "", "", 3},
		{"auditdrain_delivery_in_flight", "", "", 0},
	} {
		if got := s.metric(tc.name, tc.label, tc.value); got != tc.want {
			t.Errorf("%s{%s=%q} is %v, want %v", tc.name, tc.label, tc.value, got, tc.want)
		}
	}
	if s.metric("go_goroutines", "", "") < 1 || s.metric("process_open_fds", "", "") < 1 {
		t.Error("no metrics of the process")
	}
	s.stop()
}

// metrics returns all of /metrics, which must be in Prometheus's text format.
func (s *service) metrics() map[string]*dto.MetricFamily {
	s.t.Helper()
	status, header, body := s.get("/metrics")
	if status != 200 || !strings.HasPrefix(header.Get("Content-Type"), "text/plain") {
		s.t.Fatalf("/metrics answers %d, %s", status, header.Get("Content-Type"))
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for name, f := range families {
		if f.GetHelp() == "" && strings.HasPrefix(name, "auditdrain_") {
			s.t.Errorf("%s has no help text", name)
		}
	}
	return families
}

// metric is the value of a counter or gauge, or the count of a histogram; -1
// if it is missing.
func (s *service) metric(name, label, value string) float64 {
	s.t.Helper()
	for _, m := range s.metrics()[name].GetMetric() {
		found := label == ""
		for _, l := range m.GetLabel() {
			found = found || l.GetName() == label && l.GetValue() == value
		}
		switch {
		case !found:
		case m.GetCounter() != nil:
			return m.GetCounter().GetValue()
		case m.GetGauge() != nil:
			return m.GetGauge().GetValue()
		case m.GetHistogram() != nil:
			return float64(m.GetHistogram().GetSampleCount())
		}
	}
	return -1
}
