package browser

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

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
		{"owner", world.acme.token(auditdrain.RoleOwner).Value, world.teamPaths()},
		{"viewer", world.acme.token(auditdrain.RoleViewer).Value, world.teamPaths()},
	} {
		t.Run(visitor.name, func(t *testing.T) {
			b := s.newBrowser(t)
			b.logIn(visitor.token)
			for _, path := range visitor.paths {
				if visitor.name == "viewer" && onlyOwners(path) {
					continue
				}
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
	Name    string
	Focused bool // and one sees that
}

// focused describes what has the focus; the name is empty for nothing.
const focused = `(() => {
	const e = document.activeElement;
	if (!e || e === document.body) return {Name: "", Focused: false};
	const style = getComputedStyle(e);
	return {
		Name: describe(e),
		Focused: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 || style.boxShadow !== "none",
	};
	function describe(e) { return e.tagName + "#" + e.id + " " + (e.name ?? "") + " " + (e.labels?.[0]?.textContent ?? e.textContent).replace(/\s+/g, " ").trim().slice(0, 60); }
})()`

// tabbable are the descriptions of all that should be such, in their order.
// Of radio buttons of a name it is the one that is checked, or all.
const tabbable = `[...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']")]
	.filter(e => e.checkVisibility({visibilityProperty: true}) && !e.disabled)
	.filter(e => e.type !== "radio" || e.checked || ![...document.getElementsByName(e.name)].some(r => r.checked))
	.map(e => e.tagName + "#" + e.id + " " + (e.name ?? "") + " " + (e.labels?.[0]?.textContent ?? e.textContent).replace(/\s+/g, " ").trim().slice(0, 60))`

// checkKeyboard presses Tab through the whole page, once: it has to come to all
// that can be used, in the order of the page, and to be seen there.
func (b *browser) checkKeyboard() {
	b.t.Helper()
	want := eval[[]string](b, tabbable)
	var got []string
	for range len(want) + 1 {
		b.keys(kb.Tab)
		at := eval[stop](b, focused)
		if at.Name == "" {
			break // past the end
		}
		got = append(got, at.Name)
		if !at.Focused {
			b.t.Errorf("%s: one does not see that the focus is at %s", b.path(), at.Name)
		}
	}
	if !slices.Equal(got, want) {
		b.t.Errorf("%s: Tab comes to\n%s\nbut there are\n%s", b.path(), strings.Join(got, "\n"), strings.Join(want, "\n"))
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
}

// showcase is a service with something on every page.
type showcase struct {
	acme     team
	works    auditdrain.Drain
	troubled auditdrain.Drain // its role does not exist
}

func newShowcase(s *service) showcase {
	w := showcase{acme: s.newTeam("Acme")}
	w.works = w.acme.drain("Archive", delivery("acme-archive"))
	w.troubled = w.acme.drain("Security team", delivery("acme-security"))
	s.aws.RemoveRole(w.troubled.Delivery.RoleARN)
	w.acme.send("uev", 20)
	eventually(s.t, "the events are delivered", func() bool { return len(s.aws.keys("acme-archive")) == 20 })
	eventually(s.t, "the other drain is in trouble", func() bool {
		d, err := s.operator.GetDrain(s.t.Context(), w.acme.id, w.troubled.ID)
		must(s.t, err)
		return d.Status == auditdrain.StatusErrored
	})
	return w
}

func (w showcase) teamPaths() []string {
	return []string{"/drains", "/activity", "/settings"}
}

func (w showcase) operatorPaths() []string {
	paths := w.teamPaths()
	for _, path := range []string{"/drains", "/activity", "/settings"} {
		paths = append(paths, fmt.Sprintf("%s?team=%s", path, w.acme.id))
	}
	return paths
}

func onlyOwners(path string) bool {
	return strings.HasSuffix(path, "/edit") || strings.HasSuffix(path, "/new")
}
