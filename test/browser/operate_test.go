package browser

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
)

// What owners do to a drain, with script, which keeps the page up to date, and
// without.
func TestOperate(t *testing.T) {
	for _, script := range []bool{true, false} {
		t.Run(fmt.Sprintf("script=%t", script), func(t *testing.T) {
			s := newService(t)
			acme := s.newTeam("Acme")
			drain := acme.drain("Archive", delivery("acme-archive"))
			b := s.newBrowser(t)
			if !script {
				b.withoutScript()
			}
			b.logIn(acme.token(auditdrain.RoleOwner).Value)
			page := "/drains/" + drain.ID
			// sees waits for what the page shows by itself, or when it is opened
			// again.
			sees := func(texts ...string) {
				t.Helper()
				if script {
					b.see(texts...)
					return
				}
				eventually(t, fmt.Sprintf("the page shows %q", texts), func() bool {
					b.open(page)
					return b.shows(texts...)
				})
			}

			// Paused, events wait; resumed, they come.
			b.open(page)
			b.submit("button", "Pause")
			b.see("The drain is paused.", "Paused by", "there are none so far")
			acme.send("uev_kept", 2)
			sees("2 events are kept", "Backlog 2 events")
			b.checkA11y()
			b.submit("button", "Resume")
			b.see("It goes on where it stopped.")
			sees("Delivering", "Backlog 0 events", "Delivered 2 events")
			if got := len(s.aws.keys("acme-archive")); got != 2 {
				t.Errorf("%d objects, want 2", got)
			}

			// Resumed from now, what waits is given up, if one is sure.
			b.submit("button", "Pause")
			acme.send("uev_lost", 3)
			sees("3 events are kept")
			b.submit("link", "Resume from now")
			b.see("3 events", "are given up")
			b.checkA11y()
			if !script {
				b.watch.allow(http.StatusBadRequest)
			}
			b.click("checkbox", "Give up 3 events, for good")
			b.submit("button", "Resume from now")
			b.see("given up, on record")
			sees("Backlog 0 events", "3 events given up")

			// Edited: events go elsewhere.
			elsewhere := delivery("acme-elsewhere").WithDefaults()
			s.aws.setUp(acme.id, elsewhere)
			b.submit("link", "Edit")
			b.checkA11y()
			b.fill("Name", "Archive 2")
			b.fill("Bucket", "acme-elsewhere")
			b.fill("ARN of your role", elsewhere.RoleARN)
			b.submit("button", "Save")
			b.see("The drain was changed.", "Archive 2", "s3://acme-elsewhere/audit-logs")
			acme.send("uev_new", 5)
			sees("Delivered 7 events")
			if got := len(s.aws.keys("acme-elsewhere")); got != 5 {
				t.Errorf("%d objects, want 5", got)
			}

			// Deleted, once its name is typed.
			b.submit("link", "Delete")
			b.see("Nothing waits", "Type the drain's name, Archive 2, to delete it")
			b.checkA11y()
			b.watch.allow(http.StatusBadRequest)
			b.fill("Type the drain's name", "Archive")
			b.submit("button", "Delete the drain")
			b.see("This is not the drain's name")
			b.checkA11y()
			b.fill("Type the drain's name", "Archive 2")
			b.submit("button", "Delete the drain")
			b.see("The drain was deleted.", "You have no drain yet.")
			drains, err := s.operator.ListDrains(t.Context(), acme.id)
			must(t, err)
			if len(drains) != 0 {
				t.Errorf("drains %+v, want none", drains)
			}

			// All of it is on record.
			b.submit("link", "Activity")
			b.see("created the drain", "paused the drain", "resumed the drain", "gave up the backlog of the drain", "changed the drain", "deleted the drain", "delivery.endpoint")
		})
	}
}

// A replay writes what is missing, and its progress is seen.
func TestReplay(t *testing.T) {
	s := newService(t)
	acme := s.newTeam("Acme")
	drain := acme.drain("Archive", delivery("acme-archive"))
	const events, missing = 120, 7
	acme.send("uev", events)
	eventually(t, "all is delivered", func() bool { return len(s.aws.keys("acme-archive")) == events })
	for _, key := range s.aws.keys("acme-archive")[:missing] {
		must(t, os.Remove(filepath.Join(s.aws.dir, "acme-archive", key)))
	}

	b := acme.owner(t)
	b.open("/drains/" + drain.ID)
	slowly := func(awssim.FaultRequest) awssim.Fault { return awssim.Fault{Delay: time.Second} }
	s.aws.SetFault(slowly)
	b.submit("link", "Replay")
	b.checkA11y()
	b.submit("button", "Start the replay")
	b.see("The replay has begun.", "Replay is running", fmt.Sprintf("of %d events", events))
	bar := b.find("progressbar", "Replay")
	if bar.value == "" {
		t.Errorf("the progress is not told: %+v", bar)
	}
	b.checkA11y()
	b.submit("button", "Cancel the replay")
	b.see("The replay was cancelled.", "Last replay: cancelled")
	s.aws.SetFault(nil)

	b.submit("link", "Replay")
	b.submit("button", "Start the replay")
	b.see("Last replay: finished", fmt.Sprintf("%d of %d events", events, events))
	if got := len(s.aws.keys("acme-archive")); got != events {
		t.Errorf("%d objects, want %d", got, events)
	}
	if rewrites := s.aws.Rewrites(); len(rewrites) > 0 {
		t.Errorf("objects were written again: %v", rewrites)
	}
}

// Operators find who is in trouble, and give up an event that is refused.
func TestOperators(t *testing.T) {
	s := newService(t)
	acme, other := s.newTeam("Acme"), s.newTeam("Umbrella")
	other.drain("Fine", delivery("umbrella"))
	acme.drain("Archive", delivery("acme-archive"))
	s.aws.SetFault(func(r awssim.FaultRequest) awssim.Fault {
		if r.Op != "PutObject" || r.Bucket != "acme-archive" {
			return awssim.Fault{}
		}
		return awssim.Fault{Err: &awssim.Error{Status: 400, Code: "KeyTooLongError", Message: "Your key is too long"}}
	})
	acme.send("uev_refused", 1)

	b := s.newBrowser(t)
	b.logIn(operatorToken)
	b.see("Archive", "Fine", "Acme", "Umbrella")
	b.see("In trouble 1") // by itself
	b.submit("link", "In trouble 1")
	b.see("Archive", "The object's key is longer than S3 takes")
	b.seeNot("Fine")
	b.submit("link", "All 2")
	b.fill("Search", "umbrella")
	b.submit("button", "Search")
	b.see("Fine")
	b.seeNot("Archive")
	b.open("/drains?team=acme")
	b.see("Archive")
	b.seeNot("Fine")
	b.submit("link", "Archive")
	b.see("In trouble since", "KeyTooLongError", "nothing is lost")
	b.submit("link", "Give up the event that is refused")
	b.checkA11y()
	if got := b.value("Event"); got != "uev_refused_0" {
		t.Errorf("the event is %q, want the one that was refused", got)
	}
	s.aws.SetFault(nil)
	b.fill("Reason", "S3 never takes it")
	b.submit("button", "Give it up")
	b.see("The event was given up, on record.")
	acme.send("uev_next", 1)
	b.see("1 event given up", "Delivered 1 event", "Delivering")
	b.submit("link", "Activity")
	b.see("gave up an event of the drain", "S3 never takes it", "uev_refused_0")
}
