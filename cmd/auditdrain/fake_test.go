package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/leaktest"
)

const testToken = "ad_0123456789abcdefghijABCDEFGHIJ01"

// fakeService answers as the REST API does, but is for one team only. Tests
// that are about the service itself are elsewhere: this one is for what the
// command line sends and prints.
type fakeService struct {
	mu      sync.Mutex
	teams   []auditdrain.Team
	tokens  []auditdrain.Token
	drains  []auditdrain.Drain
	events  map[string]string // id to bytes
	batches []int             // events in each batch that came
	bytes   []int             // of each batch that came
	test    auditdrain.DrainTestResult
	created auditdrain.DrainInput // the last one
	patched []auditdrain.DrainPatch
	givenUp *auditdrain.Skip // by the next patch that resumes from now
	skips   []auditdrain.Skip
	tried   []auditdrain.Attempt
	replays []auditdrain.Replay // as asked for, one after the other; the last one stays
	asked   []string            // method and URI of what is about attempts, skips and replays
	teamIDs []string            // of each request that had one
	// refuse answers a batch in place of accepting it, if it returns an error.
	refuse func(lines [][]byte) *auditdrain.Error
}

func newFakeService() *fakeService {
	return &fakeService{
		teams:  []auditdrain.Team{{ID: "team_1", Slug: "acme", Name: "Acme Inc.", CreatedAt: 1779444000000}},
		events: map[string]string{},
	}
}

// sent returns the number of events in each batch that came.
func (f *fakeService) sent() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.batches)
}

// start serves f until the test ends and returns its URL.
func (f *fakeService) start(t *testing.T) string {
	leaktest.Check(t)
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return server.URL
}

func (f *fakeService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if id := r.URL.Query().Get("teamId"); id != "" {
		f.teamIDs = append(f.teamIDs, id)
	}
	if r.Header.Get("Authorization") != "Bearer "+testToken {
		answerError(w, auditdrain.Errorf(auditdrain.CodeUnauthorized, "unknown token"))
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/teams", func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(auditdrain.TeamList{Teams: f.teams})
	})
	mux.HandleFunc("POST /v1/teams", f.createTeam)
	mux.HandleFunc("GET /v1/tokens", func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(auditdrain.TokenList{Tokens: f.tokens})
	})
	mux.HandleFunc("POST /v1/tokens", f.createToken)
	mux.HandleFunc("DELETE /v1/tokens/{id}", func(w http.ResponseWriter, r *http.Request) {
		f.tokens = slices.DeleteFunc(f.tokens, func(t auditdrain.Token) bool { return t.ID == r.PathValue("id") })
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /v1/drains", func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(auditdrain.DrainList{Drains: f.drains})
	})
	mux.HandleFunc("POST /v1/drains", f.createDrain)
	mux.HandleFunc("GET /v1/drains/{id}", f.withDrain(func(w http.ResponseWriter, r *http.Request, i int) {
		json.NewEncoder(w).Encode(f.drains[i])
	}))
	mux.HandleFunc("PATCH /v1/drains/{id}", f.withDrain(f.patchDrain))
	mux.HandleFunc("DELETE /v1/drains/{id}", f.withDrain(func(w http.ResponseWriter, r *http.Request, i int) {
		f.drains = slices.Delete(f.drains, i, i+1)
		w.WriteHeader(http.StatusNoContent)
	}))
	mux.HandleFunc("POST /v1/drains/{id}/test", f.withDrain(func(w http.ResponseWriter, r *http.Request, i int) {
		json.NewEncoder(w).Encode(f.test)
	}))
	mux.HandleFunc("GET /v1/drains/{id}/attempts", f.withDrain(func(w http.ResponseWriter, r *http.Request, i int) {
		f.asked = append(f.asked, r.Method+" "+r.URL.RequestURI())
		json.NewEncoder(w).Encode(auditdrain.AttemptList{Attempts: f.tried})
	}))
	mux.HandleFunc("GET /v1/drains/{id}/skips", f.withDrain(func(w http.ResponseWriter, r *http.Request, i int) {
		json.NewEncoder(w).Encode(auditdrain.SkipList{Skips: f.skips})
	}))
	mux.HandleFunc("POST /v1/drains/{id}/skips", f.withDrain(func(w http.ResponseWriter, r *http.Request, i int) {
		in := decode[auditdrain.SkipInput](r)
		skip := auditdrain.Skip{From: 7, To: 7, EventID: in.EventID, Reason: in.Reason, By: "tok_operator", At: 1779444000000}
		f.skips = append(f.skips, skip)
		json.NewEncoder(w).Encode(skip)
	}))
	mux.HandleFunc("/v1/drains/{id}/replay", f.withDrain(f.replay))
	mux.HandleFunc("POST /v1/events", f.postEvents)
	mux.ServeHTTP(w, r)
}

func answerError(w http.ResponseWriter, e *auditdrain.Error) {
	w.WriteHeader(e.Code.Status())
	json.NewEncoder(w).Encode(map[string]any{"error": e})
}

func decode[T any](r *http.Request) T {
	var v T
	json.NewDecoder(r.Body).Decode(&v)
	return v
}

func (f *fakeService) createTeam(w http.ResponseWriter, r *http.Request) {
	in := decode[auditdrain.TeamInput](r)
	team := auditdrain.Team{ID: in.ID, Slug: in.Slug, Name: in.Name, CreatedAt: 1779444000000}
	if team.ID == "" {
		team.ID = "team_2"
	}
	if err := team.Validate(); err != nil {
		answerError(w, err.(*auditdrain.Error))
		return
	}
	f.teams = append(f.teams, team)
	json.NewEncoder(w).Encode(team)
}

func (f *fakeService) createToken(w http.ResponseWriter, r *http.Request) {
	in := decode[auditdrain.TokenInput](r)
	token := auditdrain.Token{ID: "tok_1", Name: in.Name, Role: in.Role, TeamID: in.TeamID, CreatedAt: 1779444000000, ExpiresAt: in.ExpiresAt}
	f.tokens = append(f.tokens, token)
	json.NewEncoder(w).Encode(auditdrain.NewToken{Token: token, Value: "ad_value"})
}

func (f *fakeService) createDrain(w http.ResponseWriter, r *http.Request) {
	f.created = decode[auditdrain.DrainInput](r)
	drain := auditdrain.NewDrain(r.URL.Query().Get("teamId"), f.created.Name, *f.created.Delivery, time.UnixMilli(1779444000000))
	drain.ID = "drn_1"
	drain.ExternalID = auditdrain.DefaultNamespace.ExternalID(drain.TeamID)
	if err := auditdrain.FieldErrors(drain.Validate(func(string) (string, bool) { return "aws", true })); err != nil {
		answerError(w, err.(*auditdrain.Error))
		return
	}
	f.drains = append(f.drains, drain)
	json.NewEncoder(w).Encode(drain)
}

func (f *fakeService) withDrain(h func(http.ResponseWriter, *http.Request, int)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		i := slices.IndexFunc(f.drains, func(d auditdrain.Drain) bool { return d.ID == r.PathValue("id") })
		if i < 0 {
			answerError(w, auditdrain.Errorf(auditdrain.CodeNotFound, "no drain %q", r.PathValue("id")))
			return
		}
		h(w, r, i)
	}
}

func (f *fakeService) patchDrain(w http.ResponseWriter, r *http.Request, i int) {
	patch := decode[auditdrain.DrainPatch](r)
	f.patched = append(f.patched, patch)
	d := &f.drains[i]
	if patch.Name != nil {
		d.Name = *patch.Name
	}
	if patch.Delivery != nil {
		d.Delivery = patch.Delivery.Apply(d.Delivery)
	}
	if patch.Status != nil {
		d.Status = *patch.Status
	}
	answer := *d
	if patch.ResumeFrom != nil {
		answer.GivenUp = f.givenUp
	}
	json.NewEncoder(w).Encode(answer)
}

func (f *fakeService) replay(w http.ResponseWriter, r *http.Request, _ int) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	f.asked = append(f.asked, strings.TrimSpace(r.Method+" "+string(body)))
	json.NewEncoder(w).Encode(f.replays[0])
	if len(f.replays) > 1 {
		f.replays = f.replays[1:]
	}
}

func (f *fakeService) postEvents(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "zstd" {
		d, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1))
		if err != nil {
			panic(err)
		}
		defer d.Close()
		body = d
	}
	b, err := io.ReadAll(body)
	if err != nil {
		panic(err)
	}
	lines := bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
	f.batches = append(f.batches, len(lines))
	f.bytes = append(f.bytes, len(b))
	if f.refuse != nil {
		if e := f.refuse(lines); e != nil {
			answerError(w, e)
			return
		}
	}
	var result auditdrain.EventsResult
	for _, l := range lines {
		var event struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(l, &event); err != nil {
			panic(err)
		}
		if event.ID == "" {
			event.ID = auditdrain.NewID("uev_")
		}
		if _, ok := f.events[event.ID]; ok {
			result.Duplicates++
			continue
		}
		f.events[event.ID] = string(l)
		result.Accepted++
	}
	json.NewEncoder(w).Encode(result)
}

// ran is what became of one run of the program.
type ran struct {
	code           int
	stdout, stderr string
}

// cli runs the program against the service at url.
func cli(t *testing.T, url string, stdin string, args ...string) ran {
	t.Helper()
	return cliWith(t.Context(), []string{"AUDITDRAIN_URL=" + url, "AUDITDRAIN_TOKEN=" + testToken}, stdin, args...)
}

func cliWith(ctx context.Context, environ []string, stdin string, args ...string) ran {
	var stdout, stderr bytes.Buffer
	code := run(ctx, args, environ, bytes.NewBufferString(stdin), &stdout, &stderr)
	return ran{code, stdout.String(), stderr.String()}
}
