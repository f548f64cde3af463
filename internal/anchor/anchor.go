// Package anchor posts the heads of drains' chains to receivers that keep them, so
// that whoever operates the service cannot cut or rewrite a chain alone.
//
// It guarantees that a head counts as kept only once its receiver has answered 2xx.
// The receiver is the team's own, or else the one for all teams, and what it gets is
// the head as manifest.SignedHead.Encode has it: bodies that are appended to a file
// are what `auditdrain verify --anchor` reads. It may get a head again, and not each
// of them: only the last counts, since it holds all before it.
package anchor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/manifest"
	"github.com/auditdrain/auditdrain/internal/webhook"
)

// A receiver that is in trouble is left alone for firstPause, doubling up to
// mostPause.
const (
	firstPause = time.Second
	mostPause  = 5 * time.Minute
)

// Teams knows which team has a receiver of its own.
type Teams interface {
	Team(ctx context.Context, idOrSlug string) (auditdrain.Team, error)
}

// Poster posts heads. Its methods may be called at the same time.
type Poster struct {
	url    string
	teams  Teams
	client *webhook.Client
	posts  *prometheus.CounterVec

	mu      sync.Mutex
	trouble map[string]trouble // by URL
}

// trouble is that of a receiver that does not answer, or says that it cannot now.
type trouble struct {
	failures int       // in a row
	since    time.Time // the last of them
	until    time.Time // it is left alone
	trying   bool      // a call is under way that began since
	err      error
}

// New returns a Poster. url is the receiver of teams that have none of their own;
// without it, the heads of those are not posted. client makes the calls.
func New(url string, teams Teams, client *webhook.Client) *Poster {
	p := &Poster{
		url: url, teams: teams, client: client, trouble: map[string]trouble{},
		posts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "auditdrain_anchors_total",
			Help: "Heads of manifests that were posted to receivers: kept or failed.",
		}, []string{"result"}),
	}
	p.posts.WithLabelValues("kept")
	p.posts.WithLabelValues("failed")
	return p
}

// Collectors returns the metrics of all posts.
func (p *Poster) Collectors() []prometheus.Collector { return []prometheus.Collector{p.posts} }

// Anchor has a head kept by the receiver of its team, and has it signed for that. It
// returns false, and no error, if there is no receiver. An error may mean that the
// receiver has it all the same.
//
// A receiver that is in trouble is called by one at a time, with pauses that grow;
// meanwhile there is an error at once. So a receiver that hangs does not hold up what
// waits for others.
func (p *Poster) Anchor(ctx context.Context, teamID string, sign func(context.Context) (manifest.SignedHead, error)) (kept bool, err error) {
	url, err := p.receiver(ctx, teamID)
	if err != nil || url == "" {
		return false, err
	}
	began := time.Now()
	if err := p.mayCall(url, began); err != nil {
		return false, err
	}
	body, err := signed(ctx, sign)
	if err != nil {
		p.notCalled(url)
		return false, err
	}
	err = p.client.Post(ctx, url, nil, body)
	p.called(ctx, url, began, err)
	if err != nil {
		p.posts.WithLabelValues("failed").Inc()
		return false, fmt.Errorf("post head: %w", err)
	}
	p.posts.WithLabelValues("kept").Inc()
	return true, nil
}

func signed(ctx context.Context, sign func(context.Context) (manifest.SignedHead, error)) ([]byte, error) {
	head, err := sign(ctx)
	if err != nil {
		return nil, err
	}
	return head.Encode()
}

// receiver returns where the heads of a team go; empty: nowhere.
func (p *Poster) receiver(ctx context.Context, teamID string) (url string, err error) {
	team, err := p.teams.Team(ctx, teamID)
	if err != nil {
		return "", fmt.Errorf("look for the receiver of heads: %w", err)
	}
	if team.AnchorURL != "" {
		return team.AnchorURL, nil
	}
	return p.url, nil
}

// mayCall returns an error if a receiver is to be left alone. If it was, and that is
// over, the caller is the one to try it, and nobody else is until it has told how that went:
// by called or notCalled.
func (p *Poster) mayCall(url string, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	t, ok := p.trouble[url]
	if !ok {
		return nil
	}
	if t.trying || now.Before(t.until) {
		return fmt.Errorf("post head: the receiver is not called at present: %w", t.err)
	}
	t.trying = true
	p.trouble[url] = t
	return nil
}

// called notes how a receiver fares.
func (p *Poster) called(ctx context.Context, url string, began time.Time, err error) {
	if err != nil && ctx.Err() != nil { // we are being stopped
		p.notCalled(url)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t, before := p.trouble[url]
	switch {
	case !isTrouble(err):
		delete(p.trouble, url)
	case before && !began.After(t.since):
		// It was called before the last failure: that says nothing new.
	default:
		now := time.Now()
		pause := min(firstPause<<min(t.failures, 20), mostPause)
		p.trouble[url] = trouble{failures: t.failures + 1, since: now, until: now.Add(pause), err: err}
	}
}

// notCalled has another one try a receiver that is in trouble.
func (p *Poster) notCalled(url string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t, ok := p.trouble[url]; ok {
		t.trying = false
		p.trouble[url] = t
	}
}

// isTrouble reports whether a receiver has failed as a whole: it did not answer, or
// not with what it thinks of a head.
func isTrouble(err error) bool {
	answer, answered := errors.AsType[*webhook.StatusError](err)
	if !answered {
		return err != nil
	}
	return answer.Code/100 == 5 || answer.Code == 429
}
