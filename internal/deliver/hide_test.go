package deliver

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

// What is written is as the team says from the moment that Changed returns,
// what is new and what is replayed.
func TestHiddenIPAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addDrain("d", "t")
		var wrote []string
		w.setAnswer(func(_ context.Context, _ auditdrain.Drain, e auditdrain.Event) (auditdrain.PutResult, error) {
			wrote = append(wrote, string(e.Body))
			return auditdrain.PutResult{}, nil
		})
		d, _ := startDeliverer(t, w, Options{Window: 1})
		send := func(id string) {
			w.addEvents("t", 1)
			w.mu.Lock()
			events := w.events["t"]
			events[len(events)-1].Body = []byte(`{"id":"` + id + `","ipAddress":"192.0.2.1"}`)
			w.mu.Unlock()
			d.Wake("t")
		}
		want := func(bodies ...string) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			if diff := cmp.Diff(bodies, wrote); diff != "" {
				t.Errorf("wrote (-want +got):\n%s", diff)
			}
			wrote = nil
		}
		time.Sleep(time.Second)
		send("1")
		want(`{"id":"1","ipAddress":"192.0.2.1"}`)

		w.instruct("d", auditdrain.Instructions{HideIPAddresses: true})
		d.Changed("d")
		send("2") // at once
		want(`{"id":"2"}`)

		w.instruct("d", auditdrain.Instructions{HideIPAddresses: true, Replay: &auditdrain.ReplayOrder{ID: "r1", FirstSeq: 1, LastSeq: 2}})
		d.Changed("d")
		want(`{"id":"1"}`, `{"id":"2"}`)

		w.instruct("d", auditdrain.Instructions{Replay: &auditdrain.ReplayOrder{ID: "r2", FirstSeq: 2, LastSeq: 2}})
		d.Changed("d")
		want(`{"id":"2","ipAddress":"192.0.2.1"}`)
	})
}
