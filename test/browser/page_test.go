package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// browser is one person's browser: a profile of its own, with one tab.
type browser struct {
	t      *testing.T
	ctx    context.Context
	url    string // of the service
	watch  *watch
	script bool // is run
}

// newBrowser opens an empty tab. When the test ends, what was seen in it that
// must not be is told.
func (s *service) newBrowser(t *testing.T) *browser {
	t.Helper()
	b := newBrowser(t, s.url)
	t.Cleanup(func() {
		for _, trouble := range b.watch.troubles() {
			t.Error(trouble)
		}
	})
	return b
}

func newBrowser(t *testing.T, url string) *browser {
	t.Helper()
	ctx, cancel := chromedp.NewContext(chromium, chromedp.WithNewBrowserContext())
	b := &browser{t: t, ctx: ctx, url: url, watch: newWatch(), script: true}
	must(t, chromedp.Do(ctx))
	dialogs := chromedp.Events(ctx, page.JavascriptDialogOpening)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, err := range dialogs {
			if err != nil {
				return
			}
			// A page stands still until its dialog is closed; the watch tells.
			_, _ = within(b, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: false})
		}
	}()
	t.Cleanup(func() {
		if t.Failed() {
			b.keep()
		}
		cancel()
		<-done
	})
	must(t, chromedp.Listen(ctx, b.watch.event))
	b.size(1280, 900)
	return b
}

// in is b for a subtest, which it fails.
func (b *browser) in(t *testing.T) *browser {
	sub := *b
	sub.t = t
	t.Cleanup(func() {
		if t.Failed() {
			sub.keep()
		}
	})
	return &sub
}

// keep writes down what the page looks like, and names it in the log.
func (b *browser) keep() {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	name := filepath.Join(b.t.ArtifactDir(), fmt.Sprintf("page-%d", time.Now().UnixNano()))
	shot, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(name+".png", shot, 0o600)
	}
	html, htmlErr := chromedp.Run(ctx, chromedp.Evaluate[string](`document.documentElement.outerHTML`))
	if htmlErr == nil {
		htmlErr = os.WriteFile(name+".html", []byte(html), 0o600)
	}
	if err != nil || htmlErr != nil {
		b.t.Log("keep the page:", err, htmlErr)
	}
	address, _ := chromedp.Run(ctx, chromedp.Location()) // told below as empty
	text, _ := b.text(ctx)
	b.t.Logf("%s.png and .html (go test -artifacts keeps them) show %s:\n%s", name, address, text)
}

// call makes a call of the DevTools protocol.
func call[P, R any](b *browser, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	result, err := within(b, command, params)
	if err != nil {
		b.t.Fatalf("%s: %v", command.Method, err)
	}
	return result
}

func within[P, R any](b *browser, command cdp.Command[P, R], params P) (R, error) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	return chromedp.Call(ctx, command, params)
}

// eval is what an expression comes to in the page.
func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return value
}

func (b *browser) size(width, height int64) {
	b.t.Helper()
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1})
}

// scheme is "light" or "dark".
func (b *browser) scheme(scheme string) {
	b.t.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

// withoutScript is a browser that runs no script of a page.
func (b *browser) withoutScript() {
	b.t.Helper()
	b.script = false
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
}

// open goes to a path of the service, or to a URL, and waits until it is
// loaded.
func (b *browser) open(path string) {
	b.t.Helper()
	url := path
	if strings.HasPrefix(path, "/") {
		url = b.url + path
	}
	b.follow("open "+path, func() {
		if result := call(b, page.Navigate, page.NavigateParams{URL: url}); result.ErrorText != "" {
			b.t.Fatalf("open %s: %s", url, result.ErrorText)
		}
	})
}

// follow does what leads to another page, and waits until that is loaded.
func (b *browser) follow(what string, act func()) {
	b.t.Helper()
	before := b.watch.loads()
	act()
	if !poll(b.ctx, func() bool { return b.watch.loads() > before }) {
		b.t.Fatalf("%s has led to no page within %s", what, patience)
	}
}

// path is where the browser is.
func (b *browser) path() string {
	b.t.Helper()
	return eval[string](b, `location.pathname + location.search`)
}

// visible has the text of the page that is shown, with white space as one
// space. (innerText has what a closed details hides.)
const visible = `(() => {
	let text = "", last = null;
	const walker = document.createTreeWalker(document.body ?? document.documentElement, NodeFilter.SHOW_TEXT);
	for (let node = walker.nextNode(); node; node = walker.nextNode()) {
		const parent = node.parentElement;
		if (parent.closest("script, style, noscript, template, option") || !parent.checkVisibility({visibilityProperty: true})) continue;
		let block = parent;
		while (block !== document.body && getComputedStyle(block).display.startsWith("inline")) block = block.parentElement;
		text += (block === last ? "" : " ") + node.data;
		last = block;
	}
	return text.replace(/\s+/g, " ").trim();
})()`

func (b *browser) text(ctx context.Context) (string, error) {
	return chromedp.Run(ctx, chromedp.Evaluate[string](visible))
}

// see waits until the page shows all of the texts.
func (b *browser) see(texts ...string) {
	b.t.Helper()
	if !poll(b.ctx, func() bool { return b.shows(texts...) }) {
		for _, text := range texts {
			if !b.shows(text) {
				b.t.Errorf("the page does not show %q within %s", text, patience)
			}
		}
		b.t.FailNow()
	}
}

// shows reports whether the page shows all of the texts now.
func (b *browser) shows(texts ...string) bool {
	now, err := b.text(b.ctx)
	if err != nil {
		return false // between two pages
	}
	for _, want := range texts {
		if !strings.Contains(now, strings.Join(strings.Fields(want), " ")) {
			return false
		}
	}
	return true
}

// seeNot makes sure that the page shows none of the texts, as it is now.
func (b *browser) seeNot(texts ...string) {
	b.t.Helper()
	text := eval[string](b, visible)
	for _, not := range texts {
		if strings.Contains(text, not) {
			b.t.Errorf("the page shows %q:\n%s", not, text)
		}
	}
}

// element is one that assistive technology knows.
type element struct {
	id          cdp.BackendNodeID
	role, name  string
	description string
	value       string
}

// elements are those of one of the roles, with a name that begins so.
func (b *browser) elements(roles, name string) ([]element, error) {
	root, err := within(b, runtime.Evaluate, runtime.EvaluateParams{Expression: "document"})
	if err != nil {
		return nil, err
	}
	var elements []element
	for _, role := range strings.Fields(roles) {
		found, err := within(b, accessibility.QueryAXTree, accessibility.QueryAXTreeParams{ObjectID: root.Result.ObjectID, Role: role})
		if err != nil {
			return nil, err
		}
		for _, n := range found.Nodes {
			e := element{id: n.BackendDOMNodeID, role: role, name: said(n.Name), description: said(n.Description), value: said(n.Value)}
			if !n.Ignored && strings.HasPrefix(e.name, name) {
				elements = append(elements, e)
			}
		}
	}
	return elements, nil
}

func said(v *accessibility.Value) string {
	if v == nil {
		return ""
	}
	var s string
	if json.Unmarshal(v.Value, &s) != nil {
		return string(v.Value) // a number
	}
	return s
}

// find waits for the one element of one of the roles, and a name: what a screen reader
// would announce it as. If none has just that name, one whose name begins so
// will do.
func (b *browser) find(roles, name string) element {
	b.t.Helper()
	var found []element
	var err error
	ok := poll(b.ctx, func() bool {
		found, err = b.elements(roles, name)
		for _, e := range found {
			if e.name == name {
				found = []element{e}
			}
		}
		return len(found) == 1
	})
	if !ok {
		all, _ := b.elements(roles, "") // told as none
		b.t.Fatalf("%d elements are a %s %q, want one (%v); there are %q", len(found), roles, name, err, names(all))
	}
	return found[0]
}

func names(elements []element) []string {
	var out []string
	for _, e := range elements {
		out = append(out, e.name)
	}
	return out
}

// click presses the element where it is, as with a mouse.
func (b *browser) click(role, name string) {
	b.t.Helper()
	b.press(b.find(role, name))
}

func (b *browser) press(e element) {
	b.t.Helper()
	call(b, dom.ScrollIntoViewIfNeeded, dom.ScrollIntoViewIfNeededParams{BackendNodeID: e.id})
	quads := call(b, dom.GetContentQuads, dom.GetContentQuadsParams{BackendNodeID: e.id}).Quads
	if len(quads) == 0 {
		b.t.Fatalf("the %s %q is nowhere on the page", e.role, e.name)
	}
	q := quads[0]
	at := input.DispatchMouseEventParams{X: (q[0] + q[4]) / 2, Y: (q[1] + q[5]) / 2, Button: input.MouseButtonLeft, ClickCount: 1}
	for _, at.Type = range []input.DispatchMouseEventType{input.DispatchMouseEventTypeMousePressed, input.DispatchMouseEventTypeMouseReleased} {
		call(b, input.DispatchMouseEvent, at)
	}
}

// submit clicks what leads to another page, and waits for that.
func (b *browser) submit(role, name string) {
	b.t.Helper()
	e := b.find(role, name)
	b.follow(fmt.Sprintf("the %s %q", role, name), func() { b.press(e) })
}

// fieldRoles are what fields that take text are to assistive technology.
var fieldRoles = []string{"textbox", "combobox", "searchbox", "spinbutton"}

// field waits for the field with a label.
func (b *browser) field(label string) element {
	b.t.Helper()
	return b.find(strings.Join(fieldRoles, " "), label)
}

// fill writes into a field instead of what is there.
func (b *browser) fill(label, text string) {
	b.t.Helper()
	e := b.field(label)
	call(b, dom.ScrollIntoViewIfNeeded, dom.ScrollIntoViewIfNeededParams{BackendNodeID: e.id})
	call(b, dom.Focus, dom.FocusParams{BackendNodeID: e.id})
	b.keys("a", chromedp.KeyModifiers(kb.ModifierCtrl))
	b.keys(kb.Delete)
	call(b, input.InsertText, input.InsertTextParams{Text: text})
}

// value is what is in a field.
func (b *browser) value(label string) string {
	b.t.Helper()
	return b.field(label).value
}

// choose chooses an option of a select.
func (b *browser) choose(label, option string) {
	b.t.Helper()
	e := b.find("combobox", label)
	object := call(b, dom.ResolveNode, dom.ResolveNodeParams{BackendNodeID: e.id}).Object
	chosen, err := chromedp.Run(b.ctx, chromedp.CallFunctionOn[bool](`function(option) {
		const found = [...this.options].find(o => o.label === option);
		if (!found) return false;
		this.value = found.value;
		this.dispatchEvent(new Event("input", {bubbles: true}));
		this.dispatchEvent(new Event("change", {bubbles: true}));
		return true;
	}`, func(p *runtime.CallFunctionOnParams) { p.ObjectID = object.ObjectID }, option))
	if err != nil || !chosen {
		b.t.Fatalf("%q has no option %q (%v)", label, option, err)
	}
}

// keys presses keys.
func (b *browser) keys(keys string, options ...chromedp.KeyOption) {
	b.t.Helper()
	must(b.t, chromedp.Do(b.ctx, chromedp.KeyEvent(keys, options...)))
}
