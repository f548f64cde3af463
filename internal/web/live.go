package web

import (
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"time"

	"github.com/auditdrain/auditdrain"
)

const (
	// maxStreams bounds the pages that are kept up to date at once. Others
	// show what they showed when they were opened.
	maxStreams = 512
	// liveEvery is how often an open page is looked at again.
	liveEvery = 2 * time.Second
	// liveTimeout is how long a browser may take to read an update.
	liveTimeout = 10 * time.Second
)

// liveFeed returns the parts of a page that change, by the ID of their
// element. It is called again and again while the page is open.
type liveFeed func(v *visit) (map[string]template.HTML, error)

// part is an element's content: a template with data.
type part struct {
	name string
	data any
}

// parts renders parts, by the ID of their element.
func (s *Server) parts(of map[string]part) (map[string]template.HTML, error) {
	rendered := map[string]template.HTML{}
	for id, p := range of {
		html, err := s.fragment(p.name, p.data)
		if err != nil {
			return nil, err
		}
		rendered[id] = html
	}
	return rendered, nil
}

// serveLive sends the parts of a page that have changed, as server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html), until the
// page is closed or its session is over.
func (s *Server) serveLive(feed liveFeed) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case s.streams <- struct{}{}:
			defer func() { <-s.streams }()
		default:
			http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
			return
		}
		stream := http.NewResponseController(w)
		// The server's limit on reading a request would end the stream.
		_ = stream.SetReadDeadline(time.Time{})
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("X-Accel-Buffering", "no") // for proxies: send at once
		shown := map[string]template.HTML{}
		ticker := time.NewTicker(liveEvery)
		defer ticker.Stop()
		for first := true; ; first = false {
			if !first {
				select {
				case <-ticker.C:
				case <-s.stopping:
					return
				case <-r.Context().Done():
					return
				}
			}
			parts, err := s.liveParts(r, feed)
			if err != nil {
				if !isShown(err) {
					s.Log.Error("live update failed", "path", r.URL.Path, "err", err)
				}
				// 204 would have the browser stop asking; so does this, whatever
				// has been sent before.
				_, _ = fmt.Fprint(w, "event: end\ndata: {}\n\n")
				return
			}
			_ = stream.SetWriteDeadline(time.Now().Add(liveTimeout))
			if err := writeParts(w, parts, shown, first); err != nil {
				return // the page was closed
			}
			if err := stream.Flush(); err != nil {
				return
			}
		}
	})
}

// liveParts looks at the session each time: it may be over.
func (s *Server) liveParts(r *http.Request, feed liveFeed) (map[string]template.HTML, error) {
	v, err := s.visit(r)
	if err != nil {
		return nil, err
	}
	if v.session.ID == "" {
		return nil, auditdrain.Errorf(auditdrain.CodeUnauthorized, "log in first")
	}
	return feed(v)
}

// writeParts sends the parts that are not shown already. At first nothing is
// known of what the page shows, and all is sent.
func writeParts(w http.ResponseWriter, parts, shown map[string]template.HTML, first bool) error {
	sent := false
	for id, html := range parts {
		if before, ok := shown[id]; ok && before == html {
			continue
		}
		data, err := json.Marshal(struct {
			ID   string        `json:"id"`
			HTML template.HTML `json:"html"`
		}{id, html})
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "event: part\ndata: %s\n\n", data); err != nil {
			return err
		}
		shown[id] = html
		sent = true
	}
	if !sent || first {
		// A comment: it finds out whether the page is still there.
		if _, err := fmt.Fprint(w, ":\n\n"); err != nil {
			return err
		}
	}
	return nil
}
