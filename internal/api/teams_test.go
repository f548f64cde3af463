package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
)

func TestTokens(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	s.team("team_b")
	made := must[auditdrain.NewToken](s, "POST", "/v1/tokens", `{"name":"ci","role":"producer","teamId":"team-a"}`)
	if made.TeamID != "team_a" || made.Role != auditdrain.RoleProducer {
		t.Errorf("made %+v, want a producer of team_a", made)
	}
	if rest := strings.TrimPrefix(made.Value, "ad_"); len(rest) < 32 || strings.Trim(rest, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "" {
		t.Errorf("value %q, want ad_ and at least 32 letters and digits", made.Value)
	}
	if got := s.do(operatorToken, "GET", "/v1/tokens?teamId=team_a", ""); strings.Contains(got.body, made.Value) || !strings.Contains(got.body, made.ID) {
		t.Errorf("the list must name tokens and never show a value: %s", got.body)
	}
	if got := s.do(made.Value, "POST", "/v1/events", goodEvent); got.status != 200 {
		t.Errorf("the new token does not work: %d %s", got.status, got.body)
	}
	if got := s.do(operatorToken, "DELETE", "/v1/tokens/"+made.ID, ""); got.status != 204 || got.body != "" {
		t.Errorf("revoke: %d %s", got.status, got.body)
	}
	if got := s.do(made.Value, "POST", "/v1/events", goodEvent); got.status != 401 {
		t.Errorf("a revoked token still works: %d %s", got.status, got.body)
	}

	owner := s.token("team_a", auditdrain.RoleOwner)
	for _, tt := range []struct {
		token, body string
		status      int
		says        string
	}{
		{owner, `{"name":"x","role":"owner"}`, 200, "team_a"},
		{owner, `{"name":"x","role":"viewer","teamId":"team_a"}`, 200, "team_a"},
		{owner, `{"name":"x","role":"producer"}`, 403, "producer"},
		{owner, `{"name":"x","role":"operator"}`, 403, "operator"},
		{owner, `{"name":"x","role":"viewer","teamId":"team_b"}`, 403, "team_b"},
		{operatorToken, `{"name":"x","role":"viewer"}`, 400, "teamId"},
		{operatorToken, `{"name":"x","role":"king"}`, 400, "king"},
		{operatorToken, `{"name":"","role":"operator"}`, 400, "name"},
		{operatorToken, `{"name":"x","role":"operator","teamId":"team_a"}`, 400, "teamId"},
		{operatorToken, `{"name":"x","role":"viewer","teamId":"team_zzz"}`, 404, "team_zzz"},
		{operatorToken, `{"name":"x","role":"operator","expiresAt":1}`, 400, "expiresAt"},
		{operatorToken, `{"name":"x","role":"operator"}`, 200, "operator"},
	} {
		got := s.do(tt.token, "POST", "/v1/tokens", tt.body)
		if got.status != tt.status || !strings.Contains(got.body, tt.says) {
			t.Errorf("POST /v1/tokens %s: %d %s, want %d that says %q", tt.body, got.status, got.body, tt.status, tt.says)
		}
	}
}

func TestOwnersCannotSilenceProducers(t *testing.T) {
	s := newService(t)
	s.team("team_a")
	owner := s.token("team_a", auditdrain.RoleOwner)
	producer := must[auditdrain.NewToken](s, "POST", "/v1/tokens", `{"name":"p","role":"producer","teamId":"team_a"}`)
	if got := s.do(owner, "DELETE", "/v1/tokens/"+producer.ID, ""); got.status != 403 {
		t.Errorf("an owner revokes the producer's token: %d %s, want 403", got.status, got.body)
	}
	if got := s.do(producer.Value, "POST", "/v1/events", goodEvent); got.status != 200 {
		t.Errorf("the producer: %d %s", got.status, got.body)
	}

	ends := time.Now().Add(time.Hour).UnixMilli()
	short := must[auditdrain.NewToken](s, "POST", "/v1/tokens", fmt.Sprintf(`{"name":"o","role":"owner","teamId":"team_a","expiresAt":%d}`, ends))
	for expires, status := range map[int64]int{0: 403, ends + 1: 403, ends: 200} {
		body := fmt.Sprintf(`{"name":"x","role":"owner","expiresAt":%d}`, expires)
		if got := s.do(short.Value, "POST", "/v1/tokens", body); got.status != status {
			t.Errorf("a token that ends at %d makes one that ends at %d: %d %s, want %d", ends, expires, got.status, got.body, status)
		}
	}
}
