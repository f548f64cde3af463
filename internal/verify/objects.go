package verify

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/manifest"
)

const (
	// partsAtOnce is how many parts are in memory, so that the end of one keeps
	// nobody waiting. A part of 10,000 objects takes some 3 MB.
	partsAtOnce = 8
	// maxObject is how many bytes of an object are read: more than an event has.
	maxObject = 16 << 20
	// handful is how many objects a worker takes at a time, at most.
	handful = 64
)

// partJob is a part of a manifest that is being verified.
type partJob struct {
	*link
	part    int
	pending sync.WaitGroup

	mu   sync.Mutex
	done Done
}

// task is some of a part's objects, for one worker.
type task struct {
	job     *partJob
	objects []manifest.Object
}

// readObjects reads the parts of all manifests, notes which objects they list, and
// reads those that are in the range.
func (r *run) readObjects(ctx context.Context, chains []*chain, listed *keySet) error {
	for _, c := range chains {
		for _, l := range c.links {
			switch {
			case !r.selected(l.DrainID):
			case r.inRange(l):
				r.all += l.Count
			default:
				r.report.OutOfRange += l.Count
			}
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	tasks := make(chan task)
	for range r.Concurrency {
		group.Go(func() error {
			var buf []byte
			for t := range tasks {
				for i := range t.objects {
					var err error
					if buf, err = r.readObject(ctx, t.job, &t.objects[i], buf); err != nil {
						t.job.pending.Done()
						return err
					}
				}
				r.progress(len(t.objects))
				t.job.pending.Done()
			}
			return nil
		})
	}
	group.Go(func() error {
		defer close(tasks)
		parts, ctx := errgroup.WithContext(ctx)
		parts.SetLimit(partsAtOnce)
		for _, c := range chains {
			for _, l := range c.links {
				if len(l.Uncertain) > 0 {
					parts.Go(func() error { return addUncertain(l, listed) })
				}
				for i := range l.Parts {
					if ctx.Err() != nil {
						return parts.Wait()
					}
					parts.Go(func() error { return r.readPart(ctx, &partJob{link: l, part: i + 1}, listed, tasks) })
				}
			}
		}
		return parts.Wait()
	})
	return group.Wait()
}

// addUncertain has objects that may be there not be unexpected.
func addUncertain(l *link, listed *keySet) error {
	for _, key := range l.Uncertain {
		if err := listed.Add(l.place, key); err != nil {
			return err
		}
	}
	return nil
}

// readPart reads one part, and has workers read its objects.
func (r *run) readPart(ctx context.Context, job *partJob, listed *keySet, tasks chan<- task) error {
	objects, problem, err := r.getPart(ctx, job.link, job.part)
	if err != nil {
		return err
	}
	check := r.selected(job.DrainID) && r.inRange(job.link)
	if problem != nil {
		r.foundIn(job.link, *problem)
		return nil
	}
	for i := range objects {
		if err := listed.Add(job.place, objects[i].Key); err != nil {
			return err
		}
	}
	if !check {
		return nil
	}
	name := partState{Place: r.Places[job.place].String(), Part: job.Parts[job.part-1].SHA256}
	if done, ok := r.State.get(name); ok {
		r.countDone(done, true)
		r.progress(len(objects))
		return nil
	}
	size := min(max(len(objects)/(2*r.Concurrency), 1), handful)
	for len(objects) > 0 {
		n := min(size, len(objects))
		job.pending.Add(1)
		select {
		case tasks <- task{job, objects[:n]}:
		case <-ctx.Done():
			job.pending.Done()
			job.pending.Wait()
			return ctx.Err()
		}
		objects = objects[n:]
	}
	job.pending.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.countDone(job.done, false)
	return r.State.put(name, job.done)
}

// countDone takes what became of a part's objects into the report. known says that
// its findings have not been added.
func (r *run) countDone(d Done, known bool) {
	r.mu.Lock()
	r.report.Read += d.Objects
	r.report.BytesRead += d.Bytes
	r.mu.Unlock()
	if known {
		for _, f := range d.Findings {
			r.found(f)
		}
	}
}

// getPart returns what a part lists, or what is wrong with it.
func (r *run) getPart(ctx context.Context, l *link, part int) ([]manifest.Object, *Finding, error) {
	key := manifest.PartKey(l.DrainID, l.Number, part)
	body, err := r.Places[l.place].Get(ctx, key, manifest.MaxDocument, make([]byte, 0, l.Parts[part-1].Size+1))
	if isAbsent(err) {
		return nil, &Finding{Kind: MissingManifest, Key: r.keyOf(l.place, key),
			Message: fmt.Sprintf("part %d of manifest %d is missing: nothing is proved of its %s", part, l.Number, plural(l.Parts[part-1].Count, "object"))}, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", key, err)
	}
	objects, err := l.ParsePart(part, body)
	if err != nil {
		return nil, &Finding{Kind: BrokenChain, Key: r.keyOf(l.place, key), Message: fmt.Sprintf("part %d of manifest %d: %v", part, l.Number, err)}, nil
	}
	return objects, nil, nil
}

// readObject compares one object with what its part says.
func (r *run) readObject(ctx context.Context, job *partJob, o *manifest.Object, buf []byte) ([]byte, error) {
	longest := o.Size
	if o.Or != nil {
		longest = max(longest, o.Or.Size)
	}
	most := int(min(longest, maxObject))
	body, err := r.Places[job.place].Get(ctx, o.Key, most, buf)
	f := Finding{DrainID: job.DrainID, Manifest: job.Number, Key: r.keyOf(job.place, o.Key), Expected: &o.SHA256}
	switch {
	case isAbsent(err):
		f.Kind, f.Message = Missing, "the object is not there"
		body = buf
	case err != nil:
		return buf, fmt.Errorf("read %s: %w", o.Key, err)
	case len(body) > most:
		f.Kind, f.Message = Altered, fmt.Sprintf("it has more than the %s that were written", plural(longest, "byte"))
	default:
		sum := manifest.Sum(body)
		if sum == o.SHA256 || o.Or != nil && sum == o.Or.SHA256 {
			job.mu.Lock()
			job.done.Objects++
			job.done.Bytes += uint64(len(body))
			job.mu.Unlock()
			return body, nil
		}
		f.Kind, f.Message, f.Actual = Altered, "its bytes are not those that were written", &sum
	}
	r.found(f)
	job.mu.Lock()
	job.done.Findings = append(job.done.Findings, f)
	job.mu.Unlock()
	return body, nil
}

// cover is what a place's manifests cover by time: Unix ms.
type cover struct {
	since     uint64 // nothing earlier; 0 if all of it
	openSince uint64 // what is later may be listed in manifests to come
	gaps      []manifest.Range
}

// covers returns what each place's manifests cover.
func (r *run) covers(chains []*chain) []cover {
	slack := uint64(clockSlack / time.Millisecond)
	covers := make([]cover, len(r.Places))
	for _, c := range chains {
		seen := make([]bool, len(r.Places))
		for i, l := range c.links {
			v := &covers[l.place]
			if !seen[l.place] && (l.Sequence.From > 1 || l.ReplayID != "") {
				v.since = max(v.since, l.Delivered.From+slack)
			}
			seen[l.place] = true
			if i == len(c.links)-1 && l.Cause != auditdrain.SealDeleted && l.Cause != auditdrain.SealMoved {
				if open := l.OpenSince - min(slack, l.OpenSince); v.openSince == 0 || open < v.openSince {
					v.openSince = open
				}
			}
			for _, g := range l.Gaps {
				gap := manifest.Range{From: g.Delivered.From - min(slack, g.Delivered.From), To: g.Delivered.To + slack}
				v.gaps = append(v.gaps, gap)
				if i > 0 && c.links[i-1].place != l.place { // moved in between
					before := &covers[c.links[i-1].place]
					before.gaps = append(before.gaps, gap)
				}
			}
		}
	}
	return covers
}

// findUnlisted lists all objects, and finds those that no manifest does.
func (r *run) findUnlisted(ctx context.Context, chains []*chain, listed *keySet) error {
	covers := r.covers(chains)
	for i, p := range r.Places {
		err := p.List(ctx, manifest.DataRoot, func(e Entry) error {
			known, err := listed.Has(i, e.Key)
			if known || err != nil {
				return err
			}
			if !e.Written.IsZero() && r.excused(covers[i], ms(e.Written)) {
				return nil
			}
			f := Finding{Kind: Unexpected, Key: r.keyOf(i, e.Key), Message: "no manifest lists it"}
			if e.Written.IsZero() {
				f.Message += "; whether it was written after the last one cannot be told here"
			}
			body, err := p.Get(ctx, e.Key, maxObject, nil)
			if err != nil && !isAbsent(err) {
				return fmt.Errorf("read %s: %w", e.Key, err)
			}
			if err == nil && len(body) <= maxObject {
				sum := manifest.Sum(body)
				f.Actual = &sum
			}
			r.found(f)
			return nil
		})
		if err != nil {
			return fmt.Errorf("list objects in %s: %w", p, err)
		}
	}
	return nil
}

// excused counts an unlisted object that no manifest has to list, by when it was
// written.
func (r *run) excused(c cover, written uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.openSince != 0 && written >= c.openSince {
		r.report.Pending++
		return true
	}
	before := written < c.since
	for _, g := range c.gaps {
		before = before || g.From <= written && written < g.To
	}
	if before {
		r.report.Before++
	}
	return before
}

// recognise finds out whose bytes are where they should not be.
func (r *run) recognise(ctx context.Context, chains []*chain) error {
	if len(r.actual) == 0 {
		return nil
	}
	owner := map[manifest.Digest]string{}
	for _, c := range chains {
		for _, l := range c.links {
			for i := range l.Parts {
				objects, problem, err := r.getPart(ctx, l, i+1)
				if err != nil {
					return err
				}
				if problem != nil {
					continue // told of before
				}
				for _, o := range objects {
					if r.actual[o.SHA256] {
						owner[o.SHA256] = r.keyOf(l.place, o.Key)
					}
				}
			}
		}
	}
	missing := map[string]bool{}
	for _, f := range r.report.Findings {
		missing[f.Key] = missing[f.Key] || f.Kind == Missing
	}
	for i := range r.report.Findings {
		f := &r.report.Findings[i]
		if f.Actual == nil || owner[*f.Actual] == "" {
			continue
		}
		f.SameAs = owner[*f.Actual]
		if f.Kind == Unexpected {
			f.Kind = Duplicated
			r.report.Counts[Unexpected]--
			r.report.Counts[Duplicated]++
		}
		if f.Message += ": they are those of " + f.SameAs; f.Kind == Duplicated {
			f.Message = "no manifest lists it, and it has the bytes of " + f.SameAs
		}
		if missing[f.SameAs] {
			f.Message += ", which is missing: it was renamed"
		}
	}
	if r.report.Counts[Unexpected] == 0 {
		delete(r.report.Counts, Unexpected)
	}
	return nil
}
