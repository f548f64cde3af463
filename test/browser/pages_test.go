package browser

import (
	"slices"
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
		pages []shownPage
	}{
		{"nobody", "", []shownPage{
			{name: "login", path: "/login"},
			{name: "portal", path: world.acme.portalLink(auditdrain.PortalLinkInput{UserName: "Ada Lovelace"})},
		}},
		{"owner", "", slices.Concat(world.teamPages(), world.ownerPages())},
		{"viewer", world.acme.token(auditdrain.RoleViewer).Value, unnamed(world.teamPages())},
		{"newcomer", world.empty.token(auditdrain.RoleOwner).Value, []shownPage{{name: "no-drains", path: "/drains"}, {path: "/activity"}}},
		{"operator", operatorToken, world.operatorPages()},
	} {
		t.Run(visitor.name, func(t *testing.T) {
			b := s.newBrowser(t)
			switch {
			case visitor.name == "owner":
				b.enter(world.acme)
			case visitor.token != "":
				b.logIn(visitor.token)
			}
			for _, page := range visitor.pages {
				page.visit(b)
				for _, scheme := range []string{"light", "dark"} {
					b.scheme(scheme)
					b.checkA11y()
					b.shoot(page, scheme)
				}
				b.scheme("light")
				b.size(1920, 900)
				b.checkWidth()
				b.size(360, 800)
				b.checkWidth()
				b.shoot(page, "narrow")
				b.size(1280, 900)
			}
		})
	}
}

// unnamed are pages of which no pictures are taken.
func unnamed(pages []shownPage) []shownPage {
	out := slices.Clone(pages)
	for i := range out {
		out[i].name = ""
	}
	return out
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
	stops := func() []string { return eval[[]string](b, tabStops+`.map(stop => stop.name)`) }
	for range 5 {
		want := stops()
		got := b.tab(3 * len(want))
		if slices.Equal(want, got) {
			return
		}
		if slices.Equal(want, stops()) {
			b.t.Errorf("%s: Tab does not come to what there is (-want +got):\n%s", b.path(), cmp.Diff(want, got))
			return
		}
		b.open(b.path()) // it is kept up to date, and has changed meanwhile
	}
	b.t.Errorf("%s: it does not stay as it is for long enough to press Tab", b.path())
}

// tab presses Tab until it has come to the end of the page, so often at most, and
// returns what it has come to.
func (b *browser) tab(most int) []string {
	b.t.Helper()
	var got []string
	for range most {
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
	return got
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
	owner := world.acme.owner(t)
	for _, page := range world.operatorPages() {
		page.visit(b)
		b.checkKeyboard()
	}
	for _, page := range slices.Concat(world.teamPages(), world.ownerPages()) {
		if page.then != nil {
			continue // leaves the focus somewhere
		}
		page.visit(owner)
		owner.checkKeyboard()
	}
	owner.open("/drains/new")
	owner.checkKeyboard()
}
