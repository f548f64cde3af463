// Package promtool holds the alert rules and the dashboard of deploy/ against
// Prometheus's own parser and query engine, as `promtool check rules` and
// `promtool test rules` would. Those are no packages, and what they are made
// of (rules, tsdb) brings 400 others: so an alert's "for", which is all that is
// missing, is done here.
//
// That the metrics exist is for the binary to show: see test/e2e.
package promtool
