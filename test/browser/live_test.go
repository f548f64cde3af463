package browser

import (
	"testing"

	"github.com/auditdrain/auditdrain/internal/awssim"
)

// layoutShift is how much has moved on the page since it was opened, as
// browsers count it (https://web.dev/articles/cls): 0.1 is what people notice.
const layoutShift = `new Promise(done => {
	let sum = 0;
	const add = list => { for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value; };
	new PerformanceObserver(add).observe({type: "layout-shift", buffered: true});
	requestAnimationFrame(() => requestAnimationFrame(() => done(sum)));
})`

// An open page follows what happens, nothing on it moves while data arrives,
// what was unfolded stays so, and a shutdown need not wait for it.
func TestLiveUpdates(t *testing.T) {
	s := newService(t)
	acme := s.newTeam("Acme")
	drain := acme.drain("Archive", delivery("acme-archive"))
	b := acme.owner(t)
	list := acme.owner(t)
	list.see("Archive")
	b.open("/drains/" + drain.ID)
	b.click("DisclosureTriangle", "The numbers")
	acme.send("uev_first", 3)
	b.see("Delivered 3 events")
	acme.send("uev_second", 4)
	b.see("Delivered 7 events")
	for _, open := range []*browser{b, list} {
		if moved := eval[float64](open, layoutShift); moved > 0.02 {
			t.Errorf("%s: what is shown has moved by %g", open.path(), moved)
		}
	}
	if !eval[bool](b, `document.querySelector("#numbers details").open`) {
		t.Error("an update has folded up what was unfolded")
	}
	b.checkA11y()

	s.aws.SetFault(func(r awssim.FaultRequest) awssim.Fault {
		if r.Op != "PutObject" {
			return awssim.Fault{}
		}
		return awssim.Fault{Err: &awssim.Error{Status: 403, Code: "AccessDenied", Message: "Access Denied"}}
	})
	acme.send("uev_refused", 1)
	b.see("In trouble since", "AccessDenied", "AWS said")
	list.see("In trouble for", "does not belong to account")
	b.checkA11y()
	s.aws.SetFault(nil)
	s.stop() // in time, and with success, while pages are open
}
