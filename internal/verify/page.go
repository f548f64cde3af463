package verify

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"time"

	"github.com/auditdrain/auditdrain/internal/manifest"
)

//go:embed page.html
var pageHTML string

// WriteHTML writes the report as one page for an audit's file: nothing is loaded from
// elsewhere, and there is no script.
func (r *Report) WriteHTML(w io.Writer) error {
	page, err := template.New("page").Funcs(template.FuncMap{
		"when": when,
		"last": func(r manifest.Range) int64 { return int64(r.To) - 1 },
		"time": func(t time.Time) string { return t.Format(time.RFC3339) },
	}).Parse(pageHTML)
	if err != nil {
		return fmt.Errorf("page of a report: %w", err)
	}
	if err := page.Execute(w, r); err != nil {
		return fmt.Errorf("page of a report: %w", err)
	}
	return nil
}
