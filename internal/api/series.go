package api

import (
	"time"

	"github.com/auditdrain/auditdrain"
)

var seriesParams = []param{
	{"span", "How far back: 1h (in steps of a minute), 24h (10 minutes) or 7d (an hour); 1h without it."},
}

func (s *Server) getSeries(c *call) (any, error) {
	if err := checkQuery(c, seriesParams); err != nil {
		return nil, err
	}
	span := auditdrain.SpanHour
	if query := c.URL.Query(); query.Has("span") {
		span = auditdrain.Span(query.Get("span"))
	}
	if err := span.Validate(); err != nil {
		return nil, err
	}
	d, err := s.drain(c)
	if err != nil {
		return nil, err
	}
	return s.Series.Series(c.Context(), d.ID, span, time.Now())
}
