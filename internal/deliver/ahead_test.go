package deliver

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/auditdrain/auditdrain"
)

// No event is begun that is too far after the cursor that is stored: what may have
// been written before a change is bounded by that. Once cursors can be stored again,
// it goes on.
func TestNotTooFarAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("d", "t")
		w.addEvents("t", 3*auditdrain.MaxAhead)
		w.mu.Lock()
		w.saveErr = errors.New("no disk")
		w.mu.Unlock()
		startDeliverer(t, w, Options{})
		time.Sleep(time.Minute)
		if got := w.count("d"); got != auditdrain.MaxAhead {
			t.Errorf("%d events delivered, want %d", got, auditdrain.MaxAhead)
		}
		w.mu.Lock()
		w.saveErr = nil
		w.mu.Unlock()
		time.Sleep(time.Minute)
		if got := w.count("d"); got != 3*auditdrain.MaxAhead {
			t.Errorf("%d events delivered, want all %d", got, 3*auditdrain.MaxAhead)
		}
	})
}
