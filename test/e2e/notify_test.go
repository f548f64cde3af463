package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
)

// receiver is an operator's webhook that checks what it gets.
type receiver struct {
	*httptest.Server
	heard chan auditdrain.Notice
}

const notifySecret = "whsec_ZTJlRTJlRTJlRTJlRTJlRTJlRTJlRTJl"

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	secret, err := base64.StdEncoding.DecodeString(notifySecret[len("whsec_"):])
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{heard: make(chan auditdrain.Notice, 100)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(req.Header.Get("webhook-id") + "." + req.Header.Get("webhook-timestamp") + "."))
		mac.Write(body)
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); req.Header.Get("webhook-signature") != want {
			t.Errorf("signature %q, want %q", req.Header.Get("webhook-signature"), want)
		}
		var n auditdrain.Notice
		if err := json.Unmarshal(body, &n); err != nil {
			t.Errorf("notice %s: %v", body, err)
		}
		r.heard <- n
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) await(t *testing.T) auditdrain.Notice {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case n := <-r.heard:
		return n
	case <-timer.C:
		t.Fatalf("no notice within %s", patience)
		return auditdrain.Notice{}
	}
}

// serveNotifying is serve with the receiver as its webhook.
func serveNotifying(t *testing.T, awsURL, data string, r *receiver, args ...string) *service {
	t.Helper()
	p := start(t, binary(t), environment(t, awsURL, "AUDITDRAIN_OPERATOR_TOKEN="+operatorToken, "AUDITDRAIN_NOTIFY_SECRET="+notifySecret),
		serveArgs(data, append(args, "--notify-url", r.URL+"/hook")...)...)
	url := p.url()
	hc := newHTTPClient(t)
	return &service{process: p, url: url, http: hc, api: newClient(t, hc, url)}
}

// TestNotifications has a drain refused, kills the service, and mends the
// drain while nothing runs: the operator hears of each once.
func TestNotifications(t *testing.T) {
	aws := newCloud(t)
	tm := newTeams()[1]
	aws.addTargets("somebody-else", tm.targets...)
	hook := newReceiver(t)
	data := t.TempDir()
	s := serveNotifying(t, aws.url, data, hook)
	tm.setUp(t, s.http, s.api)
	if a := tm.post(t, s.url, plainly(newSource(newRand(1, 1), tm.team).event())); a.status != 200 {
		t.Fatal(a)
	}
	n := hook.await(t)
	drain := tm.drains[0]
	if n.Type != auditdrain.NoticeErrored || n.Status != auditdrain.StatusErrored || n.Since == 0 || n.BacklogEvents != 1 || n.LastError == "" ||
		n.Drain != (auditdrain.NoticeDrain{ID: drain.ID, Name: drain.Name, TeamID: tm.team, Endpoint: drain.Delivery.Endpoint}) {
		t.Errorf("notice %+v, want that the drain is errored", n)
	}
	if n.Diagnosis == nil || n.Diagnosis.Who != auditdrain.ActorRoleAdmin || n.Diagnosis.Fix == "" || n.Diagnosis.RequestID == "" {
		t.Errorf("diagnosis %+v", n.Diagnosis)
	}
	eventually(t, "a call that is counted", func() bool { return s.metric("auditdrain_notifications_total", "result", "sent") == 1 })
	s.kill()

	s = serveNotifying(t, aws.url, data, hook) // still errored, which has been told
	eventually(t, "another refusal", func() bool { return s.metric("auditdrain_delivery_failures_total", "class", "blocked") > 0 })
	s.kill()

	aws.UpdateRole(tm.targets[0].roleARN(), func(r *awssim.Role) { r.Trust = trust("vercel-team:" + tm.team) })
	s = serveNotifying(t, aws.url, data, hook)
	if second := hook.await(t); second.Type != auditdrain.NoticeRecovered || second.Status != auditdrain.StatusEnabled || second.Since != n.Since || second.LastError != "" {
		t.Errorf("notice %+v, want that the drain has recovered", second)
	}
	aws.awaitObjects(1)
	s.stop()
	select {
	case n := <-hook.heard:
		t.Errorf("one notice too many: %+v", n)
	default:
	}
}
