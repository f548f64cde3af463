package deliver

import (
	"context"
	"time"

	"github.com/auditdrain/auditdrain"
)

const (
	// saveEvery bounds how far what is stored lags behind what was delivered,
	// and so how much is repeated after a crash.
	saveEvery = 250 * time.Millisecond
	// saveMost is how many drains are saved in one commit.
	saveMost = 1000
)

// touch has the drain saved soon, or at once if it is urgent. mu is held. A
// state that has not been read yet must not replace the one that is stored.
func (d *drain) touch() {
	if !d.loaded || d.unsaved && !d.urgent {
		return
	}
	d.noteDirty(d, !d.unsaved, d.urgent)
	d.unsaved = true
}

func (d *Deliverer) noteDirty(dr *drain, add, urgent bool) {
	d.saving.Lock()
	if add {
		d.dirty = append(d.dirty, dr)
	}
	d.saving.Unlock()
	notify(d.dirtyNow)
	if urgent {
		notify(d.urgentNow)
	}
}

// notify fills a channel of capacity 1: whoever reads it has been told.
func notify(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// save stores what changes, until ctx ends.
func (d *Deliverer) save(ctx context.Context) {
	for {
		select {
		case <-d.dirtyNow:
		case <-ctx.Done():
			return
		}
		pause := time.NewTimer(saveEvery)
		select {
		case <-pause.C:
		case <-d.urgentNow:
			pause.Stop()
		case <-ctx.Done():
			pause.Stop()
			return
		}
		d.saveDirty(context.WithoutCancel(ctx)) // what is begun is ended
	}
}

// saveDirty stores what has changed since it was last stored. What cannot be
// stored is stored later: a cursor may lag. One call goes after the other, so
// that whoever reads a state after a call has all of it.
func (d *Deliverer) saveDirty(ctx context.Context) {
	d.flushing.Lock()
	defer d.flushing.Unlock()
	d.saving.Lock()
	drains := d.dirty
	d.dirty = nil
	d.saving.Unlock()
	for len(drains) > 0 {
		n := min(len(drains), saveMost)
		d.saveSome(ctx, drains[:n])
		drains = drains[n:]
	}
}

func (d *Deliverer) saveSome(ctx context.Context, drains []*drain) {
	progress := make([]auditdrain.Progress, len(drains))
	for i, dr := range drains {
		progress[i] = dr.snapshot()
	}
	gone, err := d.store.SaveProgress(ctx, progress)
	if err != nil && d.saved {
		d.log.Error("delivery states could not be saved; will try again until they can", "drains", len(drains), "err", err)
	}
	d.saved = err == nil
	if err != nil {
		for i, dr := range drains {
			dr.notSaved(progress[i].Attempts)
		}
		return
	}
	for _, id := range gone {
		d.Changed(id) // deleted; whoever did it has told us, or will
	}
	for i, dr := range drains {
		status, replayed := dr.tell(progress[i].State)
		if status {
			d.statusChanged(dr.config.ID)
		}
		if replayed {
			d.sealer.replayed(dr.config.ID)
		}
	}
}

// SaveAgain stores the states of all drains anew: the store may have lost the
// latest, as after a crash. It does not block.
func (d *Deliverer) SaveAgain() {
	for _, dr := range d.snapshot() {
		dr.mu.Lock()
		dr.touch()
		dr.mu.Unlock()
	}
}

// snapshot is what has to be saved now.
func (d *drain) snapshot() auditdrain.Progress {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unsaved, d.urgent = false, false
	d.state.DrainID = d.config.ID
	d.state.Window = d.window.size
	d.state.SessionExpiresAt = 0
	if s, ok := d.dest.(interface{ SessionExpiry() time.Time }); ok {
		if t := s.SessionExpiry(); !t.IsZero() {
			d.state.SessionExpiresAt = t.UnixMilli()
		}
	}
	p := auditdrain.Progress{State: d.state, Attempts: d.attempts}
	if r := d.state.Replay; r != nil {
		copied := *r
		p.State.Replay = &copied
	}
	d.attempts = nil
	return p
}

// notSaved takes back the attempts of a snapshot. A drain that another has
// replaced is not saved again, or it would undo what that one saves.
func (d *drain) notSaved(attempts []auditdrain.Attempt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.attempts = append(attempts, d.attempts...)
	d.boundAttempts()
	d.touch()
}

// tell notes what has been saved, and reports whether that status is another than
// was told last, and whether a replay is over that was not told of.
func (d *drain) tell(saved auditdrain.DeliveryState) (status, replayed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live.saved = max(d.live.saved, saved.Cursor)
	if r := saved.Replay; r != nil {
		if d.replay != nil && d.state.Replay.ID == r.ID {
			d.replay.saved = max(d.replay.saved, r.Cursor)
		}
		replayed = r.FinishedAt != 0 && d.replayTold != r.ID
		if replayed {
			d.replayTold = r.ID
		}
	}
	d.recruit() // what was too far ahead may be begun
	errored := saved.FirstErrorAt != 0
	status = d.told != errored
	d.told = errored
	return status, replayed
}
