package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A bad page is found to be one: what the other tests rely on.
func TestHarness(t *testing.T) {
	for path, test := range map[string]struct{ body, trouble string }{
		"console":   {`<script nonce="n">console.error("oh")</script>`, "console.error"},
		"exception": {`<script nonce="n">nothing.at.all</script>`, "exception"},
		"dialog":    {`<script nonce="n">alert("hello")</script>`, `dialog "hello"`},
		"policy":    {`<script>window.ran = true</script>`, "Content Security Policy"},
		"style":     {`<p style="color: red">x</p>`, "Content Security Policy"},
		"missing":   {`<img alt="" src="/404">`, "404 for"},
		"broken":    {`<script nonce="n" src="/broken"></script>`, "/broken: net::"},
		"elsewhere": {`<script nonce="n">fetch("http://192.0.2.1/").catch(() => {})</script>`, "request to http://192.0.2.1/"},
		"large":     {strings.Repeat("<p>more</p>", maxPage/10), "bytes"},
		"fine":      {`<p>fine</p><script nonce="n">window.ran = true</script>`, ""},
	} {
		t.Run(path, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/":
					w.Header().Set("Content-Type", "text/html; charset=utf-8")
					w.Header().Set("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; connect-src *; script-src 'nonce-n'")
					fmt.Fprintf(w, `<!doctype html><html lang="en"><title>x</title><link rel="icon" href="data:,"><body>%s`, test.body)
				case "/broken":
					panic(http.ErrAbortHandler)
				default:
					http.NotFound(w, r)
				}
			}))
			defer srv.Close()
			b := newBrowser(t, srv.URL)
			b.open("/")
			if test.trouble == "" {
				if troubles := b.watch.troubles(); len(troubles) > 0 {
					t.Errorf("%q", troubles)
				}
				return
			}
			eventually(t, "trouble with "+test.trouble, func() bool { return strings.Contains(fmt.Sprint(b.watch.troubles()), test.trouble) })
		})
	}
}

// axe-core runs beside a policy that allows nothing, and finds something.
func TestAxe(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; img-src data:")
		fmt.Fprint(w, `<!doctype html><title>x</title><link rel="icon" href="data:,"><body><img src="data:,"><input><p>text`)
	}))
	defer srv.Close()
	b := newBrowser(t, srv.URL)
	b.open("/")
	found := map[string]bool{}
	for _, f := range b.axe() {
		found[f.ID] = true
	}
	for _, id := range []string{"html-has-lang", "image-alt", "label"} {
		if !found[id] {
			t.Errorf("%s is not found, only %v", id, found)
		}
	}
}

// Elements are found as a person finds them, and only what is shown is seen.
func TestPage(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if r.Method == http.MethodPost {
			fmt.Fprintf(w, `<!doctype html><link rel="icon" href="data:,"><p>name=%q color=%q</p>`, r.FormValue("name"), r.FormValue("color"))
			return
		}
		fmt.Fprint(w, `<!doctype html><link rel="icon" href="data:,">
			<details><summary>More</summary><p>hidden</p></details><p hidden>gone</p>
			<form method="post"><div style="height: 3000px"></div><label>Name <input name="name" value="old"></label>
			<label for="c">Color</label><select id="c" name="color"><option value="r">red</option><option value="g">green</option></select>
			<button>Save</button><button hidden>Save</button></form>`)
	}))
	defer srv.Close()
	for _, script := range []bool{true, false} {
		b := newBrowser(t, srv.URL)
		if !script {
			b.withoutScript()
		}
		b.open("/")
		b.see("More", "Save")
		b.seeNot("hidden", "gone")
		b.click("DisclosureTriangle", "More")
		b.see("hidden")
		b.fill("Name", "new")
		b.choose("Color", "green")
		b.submit("button", "Save")
		b.see(`name="new" color="g"`)
	}
}
