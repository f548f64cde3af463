package deliver

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/manifest"
)

// Integrity is what it takes to account for what drains write.
type Integrity struct {
	Chains    Chains
	Manifests Manifests
	// Drains returns all drains, also those that another process delivers. It is not
	// the Deliverer's own, which may take the question for news that the drain is
	// delivered as it is now.
	Drains Drains
	Signer Signer
	// Anchor has a head kept where the operator cannot change it, and reports
	// whether its team wants that: if not, nothing is signed. Without it none is.
	Anchor func(ctx context.Context, teamID string, sign func(context.Context) (manifest.SignedHead, error)) (kept bool, err error)
}

// Chains is where the accounts of drains are.
type Chains interface {
	// Chains returns those that are this process's to write.
	Chains(ctx context.Context) ([]auditdrain.Chain, error)
	Chain(ctx context.Context, drainID string) (auditdrain.Chain, error)
	// Seal is durable, together with all progress that was saved before. A drain
	// that is another process's by now is CodeConflict.
	Seal(ctx context.Context, drainID string, req auditdrain.SealRequest) (auditdrain.Chain, error)
	// Seals returns those whose manifests have not been written, by number.
	Seals(ctx context.Context, drainID string) ([]auditdrain.Seal, error)
}

// Manifests is where it is kept what became of them.
type Manifests interface {
	// SealWritten notes durably that a manifest is there, or given up. It may be
	// repeated.
	SealWritten(ctx context.Context, drainID string, number uint64, head string, at int64) error
	SealFailed(ctx context.Context, drainID, message string, at int64) error
	SealAnchored(ctx context.Context, drainID string, number uint64) error
}

// Signer signs manifests.
type Signer interface {
	// Current returns the ID of the key that signs now.
	Current(ctx context.Context) (keyID string, err error)
	// Sign signs with a key, or with the current one if there is none of that ID.
	Sign(ctx context.Context, keyID string, head manifest.Head) (manifest.SignedHead, error)
}

const (
	// sealWithin is how long after a full hour its manifests are written: each
	// drain has its own moment, so that they do not all come at once.
	sealWithin = 5 * time.Minute
	// sealersAtOnce bounds how many drains' manifests are being written.
	sealersAtOnce = 16
	// lookEvery is how often chains are looked for that nobody has told of: those
	// of drains that were deleted elsewhere.
	lookEvery = 5 * time.Minute
	// mostWaiting is how many manifests of a drain may wait before hours are left
	// to one that covers them all.
	mostWaiting = 100
)

// sealer accounts for what drains write: it seals each hour, and writes the
// manifests of all that is sealed. What a drain does otherwise from some moment on
// is sealed by whoever delivers it, before.
type sealer struct {
	*Deliverer
	Integrity
	metrics *sealMetrics

	mu       sync.Mutex
	accounts map[string]*account // by drain ID
	news     chan struct{}
}

// account is what there is to do about a chain.
type account struct {
	due      time.Time // zero: nothing, until somebody tells
	busy     bool
	again    bool // there is something new since it has been busy
	replayed bool // a replay has ended
	failures int
	// unanchored is how often the head could not be kept elsewhere, in a row.
	unanchored int
	waiting    uint64 // manifests
	// behindSince is when it was first found that manifests wait.
	behindSince time.Time
}

func newSealer(d *Deliverer, i Integrity) *sealer {
	return &sealer{Deliverer: d, Integrity: i, metrics: newSealMetrics(), accounts: map[string]*account{}, news: make(chan struct{}, 1)}
}

// deliverAs accounts for what a drain has written as it was, before it is delivered
// as it is now. A nil sealer accounts for nothing.
func (s *sealer) deliverAs(ctx context.Context, config auditdrain.Drain, told auditdrain.Instructions) error {
	if s == nil {
		return nil
	}
	if kept, err := s.kept(ctx, config); err != nil || !kept {
		return err
	}
	as := auditdrain.DeliversAs{Replay: told.Replay}
	as.Delivery, as.HideIPAddresses = config.Delivery, told.HideIPAddresses
	return s.sealNow(ctx, config.ID, auditdrain.SealRequest{As: &as})
}

// paused accounts for what a drain has written that is not delivered any more.
func (s *sealer) paused(ctx context.Context, config auditdrain.Drain) error {
	if s == nil {
		return nil
	}
	if kept, err := s.kept(ctx, config); err != nil || !kept {
		return err
	}
	return s.sealNow(ctx, config.ID, auditdrain.SealRequest{Cause: auditdrain.SealPaused})
}

// kept reports whether a drain has an account, or is to have one.
func (s *sealer) kept(ctx context.Context, config auditdrain.Drain) (bool, error) {
	if config.Delivery.Integrity {
		return true, nil
	}
	chain, err := s.Chains.Chain(ctx, config.ID)
	return chain.DrainID != "" && chain.State != auditdrain.ChainOff, err
}

// sealNow seals, and has what is sealed written soon.
func (s *sealer) sealNow(ctx context.Context, drainID string, req auditdrain.SealRequest) error {
	chain, err := s.seal(ctx, drainID, req)
	if err == nil && chain.DrainID != "" {
		s.take(chain)
	}
	return err
}

func (s *sealer) seal(ctx context.Context, drainID string, req auditdrain.SealRequest) (auditdrain.Chain, error) {
	req.At = time.Now().UnixMilli()
	// What is sealed without a key is signed with the one that there is then.
	req.KeyID, _ = s.Signer.Current(ctx)
	return s.Chains.Seal(ctx, drainID, req)
}

// look says that there is something new about a drain's account. It does not block.
func (s *sealer) look(drainID string) {
	if s == nil {
		return
	}
	s.update(drainID, time.Now(), func(*account) {})
}

// replayed says that a drain's replay has ended.
func (s *sealer) replayed(drainID string) {
	if s == nil {
		return
	}
	s.update(drainID, time.Now(), func(a *account) { a.replayed = true })
}

// take notes a chain as it is stored, and that there is something to do about it now,
// or when. It does not block.
func (s *sealer) take(chain auditdrain.Chain) {
	now := time.Now()
	due := now
	if chain.Written == chain.Sealed && (s.Anchor == nil || chain.Anchored == chain.Written) {
		due = nextSeal(chain, now)
	}
	s.update(chain.DrainID, due, func(*account) {})
}

// update changes an account, which is to be attended to by a time; zero: not before
// somebody tells.
func (s *sealer) update(drainID string, due time.Time, change func(*account)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[drainID]
	if a == nil {
		a = &account{}
		s.accounts[drainID] = a
	}
	change(a)
	a.again = true // for who is busy with it, and may not have seen what is new
	if a.due.IsZero() || !due.IsZero() && due.Before(a.due) {
		a.due = due
	}
	notify(s.news)
}

// start reads which accounts there are, and closes those of drains that were paused
// while nobody looked.
func (s *sealer) start(ctx context.Context, drains []auditdrain.Drain) error {
	if s == nil {
		return nil
	}
	chains, err := s.Chains.Chains(ctx)
	if err != nil {
		return fmt.Errorf("read chains: %w", err)
	}
	open := map[string]bool{}
	for _, c := range chains {
		open[c.DrainID] = c.State == auditdrain.ChainOpen
		s.take(c)
	}
	for _, d := range drains {
		if d.Status != auditdrain.StatusDisabled || !open[d.ID] {
			continue
		}
		if err := s.paused(ctx, d); err != nil {
			return fmt.Errorf("seal paused drain %s: %w", d.ID, err)
		}
	}
	return nil
}

// run seals and writes until ctx ends, and for what has begun until putCtx does.
func (s *sealer) run(ctx, putCtx context.Context) {
	var workers sync.WaitGroup
	defer workers.Wait()
	places := make(chan struct{}, sealersAtOnce)
	timer := time.NewTimer(0)
	defer timer.Stop()
	lookAt := time.Now().Add(lookEvery)
	for {
		if now := time.Now(); !now.Before(lookAt) {
			lookAt = now.Add(lookEvery)
			s.lookAround(putCtx)
		}
		due, next := s.due(time.Now())
		for _, id := range due {
			select {
			case places <- struct{}{}:
			case <-ctx.Done():
				return
			}
			workers.Go(func() {
				s.attend(ctx, putCtx, id)
				<-places
			})
		}
		if next.IsZero() || next.After(lookAt) {
			next = lookAt
		}
		timer.Reset(time.Until(next))
		select {
		case <-timer.C:
		case <-s.news:
		case <-ctx.Done():
			return
		}
	}
}

// lookAround looks for chains that nobody has told of.
func (s *sealer) lookAround(ctx context.Context) {
	chains, err := s.Chains.Chains(ctx)
	if err != nil {
		s.log.Error("chains could not be read; will try again", "err", err)
		return
	}
	for _, c := range chains {
		s.mu.Lock()
		known := s.accounts[c.DrainID] != nil
		s.mu.Unlock()
		if !known {
			s.take(c)
		}
	}
}

// due returns the drains about whose accounts there is something to do now, marked
// busy, and when the next is due; zero if none is.
func (s *sealer) due(now time.Time) (ids []string, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, a := range s.accounts {
		switch {
		case a.busy || a.due.IsZero():
		case !a.due.After(now):
			a.busy, a.again = true, false
			ids = append(ids, id)
		case next.IsZero() || a.due.Before(next):
			next = a.due
		}
	}
	return ids, next
}

// attend does what there is to do about an account.
func (s *sealer) attend(ctx, putCtx context.Context, id string) {
	s.mu.Lock()
	a := s.accounts[id]
	cause, replayed, waiting := auditdrain.SealHour, a.replayed, a.waiting
	a.replayed = false
	s.mu.Unlock()
	if replayed {
		cause = auditdrain.SealReplay
	}

	chain, err := s.settle(ctx, putCtx, id, cause, waiting)
	anchorErr := s.anchor(putCtx, chain)

	s.mu.Lock()
	defer s.mu.Unlock()
	defer notify(s.news)
	a.busy = false
	a.failures = countFailure(a.failures, err)
	a.unanchored = countFailure(a.unanchored, anchorErr)
	a.replayed = a.replayed || replayed && err != nil
	if putCtx.Err() == nil {
		s.logFirst(id, a, err, anchorErr)
	}
	now := time.Now()
	if a.waiting = chain.Sealed - chain.Written; a.waiting == 0 {
		a.behindSince = time.Time{}
	} else if a.behindSince.IsZero() {
		a.behindSince = now
	}
	switch {
	case a.again:
		a.due = now
	case auditdrain.ErrorCode(err) == auditdrain.CodeConflict, err == nil && (chain.DrainID == "" || chain.Ended()):
		delete(s.accounts, id) // it is another process's, or there is none
	case err != nil && classOf(err) == auditdrain.Blocked:
		a.due = now.Add(probeDelay(a.failures - 1))
	case err != nil:
		a.due = now.Add(backoff(a.failures))
	case anchorErr != nil:
		a.due = now.Add(probeDelay(a.unanchored - 1))
	default:
		a.due = nextSeal(chain, now)
	}
}

// logFirst logs the first of some failures in a row: the others would say the same, and
// there may be many drains. A drain that is another process's by now is none.
func (s *sealer) logFirst(id string, a *account, err, anchorErr error) {
	if a.failures == 1 && auditdrain.ErrorCode(err) != auditdrain.CodeConflict {
		s.log.Warn("a drain's manifests could not be sealed or written; will try again until they can", "drain", id, "err", err)
	}
	if a.unanchored == 1 {
		s.log.Warn("the head of a drain's manifests could not be anchored; will try again until it can", "drain", id, "err", anchorErr)
	}
}

func countFailure(inARow int, err error) int {
	if err == nil {
		return 0
	}
	return inARow + 1
}

// nextSeal returns when a chain's next full hour is to be sealed: now, if one is over;
// zero if none is.
func nextSeal(chain auditdrain.Chain, now time.Time) time.Time {
	if chain.State != auditdrain.ChainOpen {
		return time.Time{}
	}
	if chain.Since < now.Truncate(time.Hour).UnixMilli() {
		return now
	}
	return nextHour(chain.DrainID, now)
}

// nextHour returns when a drain's next full hour is to be sealed.
func nextHour(drainID string, now time.Time) time.Time {
	h := fnv.New64a()
	h.Write([]byte(drainID))
	offset := time.Duration(h.Sum64() % uint64(sealWithin))
	at := now.Truncate(time.Hour).Add(offset)
	if !at.After(now) {
		at = at.Add(time.Hour)
	}
	return at
}

// settle seals what is to be sealed of an account, and writes what is sealed.
func (s *sealer) settle(ctx, putCtx context.Context, id string, cause auditdrain.SealCause, waiting uint64) (chain auditdrain.Chain, err error) {
	if cause == auditdrain.SealHour && waiting >= mostWaiting {
		chain, err = s.Chains.Chain(putCtx, id)
	} else {
		chain, err = s.seal(putCtx, id, auditdrain.SealRequest{Cause: cause})
	}
	if auditdrain.ErrorCode(err) == auditdrain.CodeNotFound {
		chain, err = s.Chains.Chain(putCtx, id) // the drain is deleted
	}
	if err != nil {
		return chain, fmt.Errorf("seal: %w", err)
	}
	if chain.Written == chain.Sealed {
		return chain, nil
	}
	return s.write(ctx, putCtx, chain)
}

// anchor has the head of a chain kept elsewhere, if it is not yet and its team wants
// that. The head holds all before it, so only the last counts. That of a drain that
// is deleted is tried once.
func (s *sealer) anchor(ctx context.Context, chain auditdrain.Chain) error {
	if s.Anchor == nil || chain.Anchored >= chain.Written {
		return nil
	}
	head := manifest.Head{DrainID: chain.DrainID, Format: manifest.HeadFormat, Number: chain.Written, TeamID: chain.TeamID}
	if err := head.SHA256.UnmarshalText([]byte(chain.Head)); err != nil {
		return fmt.Errorf("head of drain %s: %w", chain.DrainID, err)
	}
	kept, err := s.Anchor(ctx, chain.TeamID, func(ctx context.Context) (manifest.SignedHead, error) {
		return s.Signer.Sign(ctx, chain.KeyID, head)
	})
	if err == nil && kept {
		err = s.Integrity.Manifests.SealAnchored(ctx, chain.DrainID, chain.Written)
	}
	return err
}
