package browser

import (
	"fmt"
	"net/url"
	"slices"
	"sync"

	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
)

// maxPage is what the HTML of a page may come to, without compression, and
// maxAll with its style and script.
const (
	maxPage = 100 << 10
	maxAll  = 100 << 10
)

// watch is what happens in a tab that nobody looks at.
type watch struct {
	mu       sync.Mutex
	loaded   int // pages
	requests map[network.RequestID]*request
	allowed  []int64 // statuses of refusals that the test is after
	trouble  []string
}

type request struct {
	url    string
	kind   network.ResourceType
	status int64
	bytes  int64
}

func newWatch() *watch { return &watch{requests: map[network.RequestID]*request{}} }

// allow has answers with these statuses be no trouble.
func (w *watch) allow(statuses ...int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.allowed = append(w.allowed, statuses...)
}

func (w *watch) loads() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.loaded
}

// troubles are what must not have happened.
func (w *watch) troubles() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.trouble)
}

func (w *watch) tell(format string, args ...any) {
	w.trouble = append(w.trouble, fmt.Sprintf(format, args...))
}

func (w *watch) event(event any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := event.(type) {
	case *page.EventLoadEventFired:
		w.loaded++
	case *page.EventJavascriptDialogOpening:
		w.tell("dialog %q at %s", e.Message, e.URL)
	case *runtime.EventConsoleAPICalled:
		w.tell("console.%s: %s", e.Type, arguments(e.Args))
	case *runtime.EventExceptionThrown:
		w.tell("exception: %s", e.ExceptionDetails.Text)
	case *cdplog.EventEntryAdded:
		// What the network says is told below; the verbose give advice.
		if e.Entry.Source != cdplog.EntrySourceNetwork && e.Entry.Level != cdplog.EntryLevelVerbose {
			w.tell("console, %s: %s (%s)", e.Entry.Level, e.Entry.Text, e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		w.requests[e.RequestID] = &request{url: e.Request.URL, kind: e.Type}
		if u, err := url.Parse(e.Request.URL); err != nil || u.Hostname() != "127.0.0.1" && u.Scheme != "data" {
			w.tell("request to %s", e.Request.URL)
		}
	case *network.EventResponseReceived:
		if r := w.requests[e.RequestID]; r != nil {
			r.status = e.Response.Status
			if r.status >= 400 && !slices.Contains(w.allowed, r.status) {
				w.tell("%d for %s", r.status, r.url)
			}
		}
	case *network.EventDataReceived:
		if r := w.requests[e.RequestID]; r != nil {
			r.bytes += e.DataLength
		}
	case *network.EventLoadingFinished:
		if r := w.requests[e.RequestID]; r != nil && r.kind != network.ResourceTypeEventSource && r.bytes >= maxPage {
			w.tell("%s has %d bytes", r.url, r.bytes)
		}
	case *network.EventLoadingFailed:
		// Leaving a page ends its live updates.
		if r := w.requests[e.RequestID]; r != nil && !e.Canceled && r.kind != network.ResourceTypeEventSource {
			w.tell("%s: %s", r.url, e.ErrorText)
		}
	}
}

func arguments(args []*runtime.RemoteObject) string {
	var out []string
	for _, a := range args {
		out = append(out, string(a.Value)+a.Description)
	}
	return fmt.Sprint(out)
}
