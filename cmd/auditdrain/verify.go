package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/manifest"
	"github.com/auditdrain/auditdrain/internal/s3"
	"github.com/auditdrain/auditdrain/internal/verify"
)

const (
	// bucketReads is how many objects of a bucket are read at once, if nobody says.
	bucketReads = 128
	// fetchTimeout and fetchMost bound what is read of a URL.
	fetchTimeout = 30 * time.Second
	fetchMost    = 64 << 20
)

type verifyFlags struct {
	keys, pins, drains, anchors []string
	from, to                    timeFlag
	grace                       time.Duration
	concurrency                 int
	trustTimes                  bool
	state, html                 string
	output                      connection // of which only the output
}

func newVerifyCommand() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify PLACE...",
		Short: "Prove by a drain's manifests that nothing is missing from its objects",
		Long: `Prove by a drain's manifests that nothing is missing from its objects, none was
changed and none was added. No service is asked: a PLACE is s3://bucket or
s3://bucket/prefix, read with your own AWS credentials, or a folder with a copy of
what is below the prefix. Name all places of a drain that has moved: what is in none of
them is not verified.

--key is where the service's public keys are: the service's own
https://…/.well-known/jwks.json, or better a copy of it that was made when there was
no doubt, or a public key in PEM. With --pin, only keys with that fingerprint count.

A folder's file times are not believed, so there every object that no manifest lists
is unexpected, also one that was written after the last manifest.

What it costs: one GET for each object, each 10,000 objects and twice for each
manifest, and one LIST for each 1,000 objects; see docs/bucket-format.md.

` + exitCodesText(),
		Example: `  auditdrain verify s3://acme-audit-archive/audit-logs --key https://audit.example.com/.well-known/jwks.json --drain drn_123
  auditdrain verify ./copy --key jwks.json --from 2026-05-01 --to 2026-06-01 --html may.html`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("no PLACE: name a bucket (s3://bucket/prefix) or a folder")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.keys, "key", nil, "`file or URL` of the public keys (JWKS or PEM); may be repeated")
	flags.StringArrayVar(&f.pins, "pin", nil, "`fingerprint` of a key that counts; may be repeated")
	flags.StringArrayVar(&f.drains, "drain", nil, "`ID` of a drain that must have manifests; only those named are verified; may be repeated")
	flags.StringArrayVar(&f.anchors, "anchor", nil, "`file or URL` of signed heads of chains that were kept elsewhere; may be repeated")
	f.from.past, f.to.past = true, true
	flags.Var(&f.from, "from", "read objects that were delivered from then on (chains are verified whole)")
	flags.Var(&f.to, "to", "read objects that were delivered before then, and expect manifests up to then only")
	flags.DurationVar(&f.grace, "grace", 2*time.Hour, "how old the last manifest may be")
	flags.IntVar(&f.concurrency, "concurrency", 0, fmt.Sprintf("objects that are read at once (default %d of a bucket, twice the CPUs of a folder)", bucketReads))
	flags.BoolVar(&f.trustTimes, "trust-times", false, "believe a folder's file times, as \"aws s3 sync\" has copied them")
	flags.StringVar(&f.state, "state", "", "`file` that remembers what was verified, to go on after an interruption; removed at the end")
	flags.StringVar(&f.html, "html", "", "also write the report as a page to this `file`")
	f.output.output = choice{value: "table", allowed: []string{"table", "json"}}
	f.output.output.addTo(cmd, flags, "output", "o", "how to print the report")
	return cmd
}

func exitCodesText() string {
	var b strings.Builder
	b.WriteString("Exits with 0 if all is proved, with 1 if it could not be verified, with 2 if it was\nasked wrongly, and else with the code of the gravest of what it found:\n\n")
	for _, k := range verify.Kinds {
		fmt.Fprintf(&b, "  %d  %-18s%s\n", k.ExitCode(), k, k.Describe())
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (f *verifyFlags) run(cmd *cobra.Command, args []string) (err error) {
	ctx := cmd.Context()
	o, err := f.options(ctx, args)
	if err != nil {
		return err
	}
	if f.state != "" {
		state, err := verify.OpenState(f.state)
		if err != nil {
			return usagef("--state: %w", err)
		}
		defer state.Close()
		o.State = state
	}
	var shown *progress
	if stderr := cmd.ErrOrStderr(); isTerminal(stderr) {
		shown = newProgress(stderr.(*os.File), 0)
		o.Progress = shown.verified()
	}
	report, err := verify.Run(ctx, o)
	shown.clear()
	if err != nil && f.state != "" {
		return fmt.Errorf("%w (run it again with --state %s to go on)", err, f.state)
	}
	if err != nil {
		return err
	}
	if f.html != "" {
		if err := writePage(f.html, report); err != nil {
			return err
		}
	}
	if err := f.output.print(cmd.OutOrStdout(), report, func(w io.Writer) { printVerification(w, report) }); err != nil {
		return err
	}
	if f.state != "" {
		if err := os.Remove(f.state); err != nil {
			return err
		}
	}
	if report.Verified {
		return nil
	}
	return codedError{errors.New("not verified: " + report.Summary()), report.ExitCode()}
}

// options reads what the flags and arguments name. Its errors about them are usage
// errors.
func (f *verifyFlags) options(ctx context.Context, args []string) (verify.Options, error) {
	o := verify.Options{
		From: f.from.at, To: f.to.at, Drains: f.drains, Grace: f.grace, Concurrency: f.concurrency, Keys: manifest.Keys{},
	}
	if !o.From.IsZero() && !o.To.IsZero() && !o.From.Before(o.To) {
		return o, usagef("--from %s is not before --to %s", f.from.String(), f.to.String())
	}
	if f.concurrency < 0 || f.concurrency > 10_000 {
		return o, usagef("--concurrency %d is not allowed: use 1 to 10000", f.concurrency)
	}
	if len(f.keys) == 0 {
		return o, usagef("--key is missing: say where the public keys are, such as https://HOST/.well-known/jwks.json")
	}
	inBucket := slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "s3://") })
	if o.Concurrency == 0 {
		o.Concurrency = 2 * runtime.GOMAXPROCS(0)
		if inBucket {
			o.Concurrency = bucketReads
		}
	}
	for _, from := range f.keys {
		content, err := fetch(ctx, from)
		if err != nil {
			return o, fmt.Errorf("--key: %w", err)
		}
		keys, err := manifest.ParseKeys(content)
		if err != nil {
			return o, usagef("--key: %s: %w", from, err)
		}
		for id, key := range keys {
			if len(f.pins) == 0 || slices.Contains(f.pins, id) {
				o.Keys[id] = key
			}
		}
	}
	if len(o.Keys) == 0 {
		return o, usagef("--pin: no key has that fingerprint")
	}
	for _, from := range f.anchors {
		content, err := fetch(ctx, from)
		if err != nil {
			return o, fmt.Errorf("--anchor: %w", err)
		}
		heads, err := verify.ReadAnchors(bytes.NewReader(content))
		if err != nil {
			return o, usagef("--anchor: %s: %w", from, err)
		}
		o.Anchors = append(o.Anchors, heads...)
	}
	for _, name := range args {
		place, err := f.place(ctx, name, o.Concurrency)
		if err != nil {
			return o, err
		}
		o.Places = append(o.Places, place)
	}
	return o, nil
}

// place opens what an argument names.
func (f *verifyFlags) place(ctx context.Context, name string, concurrency int) (verify.Place, error) {
	if !strings.HasPrefix(name, "s3://") {
		info, err := os.Stat(name)
		if err != nil {
			return nil, usageError{err}
		}
		if !info.IsDir() {
			return nil, usagef("%s is not a folder, and does not begin with s3://", name)
		}
		return verify.Dir{Path: name, TrustTimes: f.trustTimes}, nil
	}
	endpoint := strings.TrimSuffix(name, "/")
	for _, p := range (auditdrain.Delivery{Type: "s3", Endpoint: endpoint}).Validate(s3.PartitionOf) {
		if p.Field == "delivery.endpoint" {
			return nil, usageError{errors.New(p.Message)}
		}
	}
	cfg, err := s3.LoadConfig(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	r, err := s3.OpenReader(ctx, cfg, endpoint, concurrency)
	if err != nil {
		return nil, err
	}
	return bucket{r}, nil
}

// bucket is a Reader as a Place.
type bucket struct{ *s3.Reader }

// List implements verify.Place.
func (b bucket) List(ctx context.Context, prefix string, found func(verify.Entry) error) error {
	return b.Reader.List(ctx, prefix, func(l s3.Listed) error { return found(verify.Entry(l)) })
}

// fetch reads a file or URL.
func fetch(ctx context.Context, from string) ([]byte, error) {
	u, err := url.Parse(from)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" {
		content, err := os.ReadFile(from)
		if err != nil {
			return nil, usageError{err}
		}
		return content, nil
	}
	if u.Scheme == "http" && u.Hostname() != "127.0.0.1" && u.Hostname() != "localhost" {
		return nil, usagef("%s: use https: what comes over http proves nothing", from)
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", from, resp.Status)
	}
	content, err := io.ReadAll(io.LimitReader(resp.Body, fetchMost+1))
	if err == nil && len(content) > fetchMost {
		err = fmt.Errorf("%s is longer than %d bytes", from, fetchMost)
	}
	return content, err
}

func writePage(name string, report *verify.Report) error {
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(report.WriteHTML(out), out.Close())
}

// printVerification is the report for a terminal.
func printVerification(w io.Writer, r *verify.Report) {
	for _, c := range r.Chains {
		field(w, "drain", fmt.Sprintf("%s of team %s", c.DrainID, c.TeamID))
		field(w, "  manifests", fmt.Sprintf("%d to %d, from %s to %s", c.First, c.Last, when(int64(c.Delivered.From)), when(int64(c.Delivered.To))))
		if c.MovedFrom != "" {
			field(w, "  elsewhere", fmt.Sprintf("%s, not verified: the drain moved here from %s", c.Elsewhere(), c.MovedFrom))
		}
		if c.Sequence.Len() > 0 {
			field(w, "  events", fmt.Sprintf("%d to %d", c.Sequence.From, c.Sequence.To-1))
		}
		field(w, "  objects", fmt.Sprintf("%d listed, %s", c.Objects, size(c.Bytes)))
		if c.Uncertain > 0 {
			field(w, "  uncertain", plural(c.Uncertain, "object")+" that may be there or not")
		}
		for _, s := range c.Skips {
			field(w, "  skipped", fmt.Sprintf("events %d to %d by %s at %s: %s", s.Sequence.From, s.Sequence.To-1, s.By, when(int64(s.At)), s.Reason))
		}
		for _, g := range c.Gaps {
			field(w, "  gap", fmt.Sprintf("events %d to %d: %s", g.Sequence.From, g.Sequence.To-1, g.Reason))
		}
		for _, l := range c.Late {
			field(w, "  one manifest", fmt.Sprintf("from %s to %s", when(int64(l.From)), when(int64(l.To))))
		}
		for _, ch := range c.Changes {
			field(w, "  changed", fmt.Sprintf("%s by %s (%s) at %s", ch.Action, ch.Name, ch.By, when(int64(ch.At))))
		}
		field(w, "  head", fmt.Sprintf("%s, signed by %s", c.Head, strings.Join(c.KeyIDs, ", ")))
	}
	field(w, "objects verified", fmt.Sprintf("%d, %s", r.Read, size(r.BytesRead)))
	for _, n := range []struct {
		name  string
		count uint64
	}{{"outside --from and --to", r.OutOfRange}, {"newer than the last manifest", r.Pending}, {"older than the first, or in a gap", r.Before}} {
		if n.count > 0 {
			field(w, n.name, fmt.Sprint(n.count))
		}
	}
	for _, f := range r.Findings {
		where := f.Key
		if where == "" {
			where = f.DrainID
		}
		row(w, strings.ToUpper(string(f.Kind)), where, f.Message)
	}
	if r.Verified {
		field(w, "result", "VERIFIED: nothing is missing, nothing was changed, nothing was added")
	} else {
		field(w, "result", "NOT VERIFIED: "+r.Summary())
	}
}
