package browser

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

// Every page, as everybody sees it, passes axe-core in light and dark, and
// needs no scrolling sideways on small and large screens. What every page has
// to keep besides is looked at in all tests (watch).
func TestPages(t *testing.T) {
	s := newService(t)
	world := newShowcase(s)
	for _, visitor := range []struct {
		name  string
		token string
		paths []string
	}{
		{"operator", operatorToken, world.operatorPaths()},
		{"owner", world.acme.token(auditdrain.RoleOwner).Value, append(world.teamPaths(), world.ownerPaths()...)},
		{"viewer", world.acme.token(auditdrain.RoleViewer).Value, world.teamPaths()},
		{"newcomer", world.empty.token(auditdrain.RoleOwner).Value, []string{"/drains", "/activity", "/settings"}},
	} {
		t.Run(visitor.name, func(t *testing.T) {
			b := s.newBrowser(t)
			b.logIn(visitor.token)
			for _, path := range visitor.paths {
				b.scheme("light")
				b.open(path)
				b.checkA11y()
				b.scheme("dark")
				b.checkA11y()
				for _, width := range []int64{360, 1920, 1280} {
					b.size(width, 900)
					b.checkWidth()
				}
			}
		})
	}
}

// checkWidth makes sure that the page is as wide as the screen.
func (b *browser) checkWidth() {
	b.t.Helper()
	type overflow struct {
		Page, Screen int
		Who          []string
	}
	o := eval[overflow](b, `({
		Page: document.documentElement.scrollWidth, Screen: innerWidth,
		Who: [...document.body.querySelectorAll("*")].filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + "." + e.className).slice(0, 5),
	})`)
	if o.Page > o.Screen {
		b.t.Errorf("%s is %d px wide on a screen of %d: %v", b.path(), o.Page, o.Screen, o.Who)
	}
}

// stop is something that the Tab key comes to.
type stop struct {
	Name    string // "" past the end of the page
	Focused bool   // and one sees that
}

// tabStops are all that the Tab key should come to, in their order, each with
// its place. Of radio buttons of a name it is the one that is checked.
const tabStops = `(() => {
	const radio = e => e.checked || ![...document.getElementsByName(e.name)].some(r => r.checked);
	return [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']")]
		.filter(e => e.checkVisibility({visibilityProperty: true}) && !e.disabled && (e.type !== "radio" || radio(e)))
		.map((e, i) => ({element: e, name: i + " " + e.tagName + " " + (e.labels?.[0]?.textContent ?? e.textContent).replace(/\s+/g, " ").trim().slice(0, 60)}));
})()`

// focused is what has the focus.
const focused = `(() => {
	const e = document.activeElement;
	if (!e || e === document.body) return {Name: "", Focused: false};
	const style = getComputedStyle(e);
	return {
		Name: ` + tabStops + `.find(stop => stop.element === e)?.name ?? e.outerHTML.slice(0, 200),
		Focused: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
	};
})()`

// checkKeyboard presses Tab through the whole page, once: it has to come to all
// that can be used, in the order of the page, and to be seen there.
func (b *browser) checkKeyboard() {
	b.t.Helper()
	want := eval[[]string](b, tabStops+`.map(stop => stop.name)`)
	var got []string
	for range 3 * len(want) {
		b.keys(kb.Tab)
		at := eval[stop](b, focused)
		if at.Name == "" {
			break
		}
		if len(got) > 0 && got[len(got)-1] == at.Name {
			continue // a date has a stop for each of its parts
		}
		got = append(got, at.Name)
		if !at.Focused {
			b.t.Errorf("%s: one does not see that the focus is at %s", b.path(), at.Name)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Errorf("%s: Tab does not come to what there is (-want +got):\n%s", b.path(), diff)
	}
}

// Without a mouse: the first Tab offers to skip the navigation, and the next
// ones come to everything.
func TestKeyboard(t *testing.T) {
	s := newService(t)
	world := newShowcase(s)
	b := s.newBrowser(t)
	b.open("/login")
	b.checkKeyboard()
	b.open("/login")
	b.fill("Token", operatorToken)
	b.follow("Enter", func() { b.keys(kb.Enter) })
	b.see("Log out")

	b.keys(kb.Tab)
	if at := eval[stop](b, focused); !strings.Contains(at.Name, "Skip to content") || !at.Focused {
		t.Errorf("the first Tab comes to %+v, want the link to the content", at)
	}
	b.keys(kb.Enter)
	if at := eval[string](b, `document.activeElement.id`); at != "main" {
		t.Errorf("skipping leads to %q, want main", at)
	}
	for _, path := range world.operatorPaths() {
		b.open(path)
		b.checkKeyboard()
	}
	owner := world.acme.owner(t)
	for _, path := range append(world.teamPaths(), world.ownerPaths()...) {
		owner.open(path)
		owner.checkKeyboard()
	}
}

// showcase is a service with something on every page.
type showcase struct {
	acme, empty team
	works       auditdrain.Drain
	troubled    auditdrain.Drain // its role does not exist
	paused      auditdrain.Drain // with a backlog
}

func newShowcase(s *service) showcase {
	w := showcase{acme: s.newTeam("Acme"), empty: s.newTeam("Umbrella")}
	w.works = w.acme.drain("Archive", delivery("acme-archive"))
	w.troubled = w.acme.drain("Security team", delivery("acme-security"))
	w.paused = w.acme.drain("A name as long as they get, which nobody should choose but somebody will, for a drain that is paused", delivery("acme-paused"))
	s.aws.RemoveRole(w.troubled.Delivery.RoleARN)
	_, err := s.operator.UpdateDrain(s.t.Context(), w.acme.id, w.paused.ID, auditdrain.DrainPatch{Status: new(auditdrain.StatusDisabled)})
	must(s.t, err)
	w.acme.send("uev", 20)
	eventually(s.t, "the events are delivered", func() bool { return len(s.aws.keys("acme-archive")) == 20 })
	eventually(s.t, "the other drain is in trouble", func() bool {
		d, err := s.operator.GetDrain(s.t.Context(), w.acme.id, w.troubled.ID)
		must(s.t, err)
		return d.Status == auditdrain.StatusErrored
	})
	return w
}

// teamPaths are the pages that everybody of the team sees.
func (w showcase) teamPaths() []string {
	paths := []string{"/drains", "/drains?status=errored", "/drains?q=nothing", "/activity", "/settings"}
	for _, d := range []auditdrain.Drain{w.works, w.troubled, w.paused} {
		paths = append(paths, "/drains/"+d.ID)
	}
	return append(paths, "/drains/"+w.works.ID+"?span=7d", "/drains/"+w.works.ID+"/queries")
}

// ownerPaths are those on which something is changed.
func (w showcase) ownerPaths() []string {
	return []string{
		"/drains/new", "/drains/" + w.works.ID + "/edit", "/drains/" + w.works.ID + "/replay",
		"/drains/" + w.troubled.ID + "/delete", "/drains/" + w.paused.ID + "/resume-from-now",
	}
}

func (w showcase) operatorPaths() []string {
	return []string{
		"/drains", "/drains?team=" + w.acme.id, "/drains?team=" + w.empty.id, "/activity", "/settings", "/settings?team=" + w.acme.id,
		"/drains/new", "/drains/new?team=" + w.acme.id, "/drains/" + w.troubled.ID, "/drains/" + w.troubled.ID + "/skip",
	}
}
