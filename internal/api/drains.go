package api

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/deliver"
)

func (s *Server) listDrains(c *call) (any, error) {
	if isSearch(c) {
		return s.findDrains(c)
	}
	drains, err := s.Drains.Drains(c.Context(), auditdrain.DrainQuery{TeamID: c.team.ID})
	if err != nil {
		return nil, err
	}
	drains, err = s.allShown(c, drains)
	return auditdrain.DrainList{Drains: drains}, err
}

func (s *Server) getDrain(c *call) (any, error) {
	d, err := s.drain(c)
	if err != nil {
		return nil, err
	}
	return s.shown(c, d)
}

// drain returns the drain that the path names, if the caller may know of it.
func (s *Server) drain(c *call) (auditdrain.Drain, error) {
	id := c.PathValue("id")
	found, err := s.Drains.Drains(c.Context(), auditdrain.DrainQuery{TeamID: c.team.ID, ID: id})
	if err != nil {
		return auditdrain.Drain{}, err
	}
	if len(found) == 0 {
		return auditdrain.Drain{}, noDrain(id)
	}
	return found[0], nil
}

func noDrain(id string) error {
	return auditdrain.Errorf(auditdrain.CodeNotFound, "there is no drain %q in this team", id)
}

// allShown is shown for many, without those that were deleted meanwhile.
func (s *Server) allShown(c *call, drains []auditdrain.Drain) ([]auditdrain.Drain, error) {
	all := make([]auditdrain.Drain, 0, len(drains))
	for _, d := range drains {
		d, err := s.shown(c, d)
		switch {
		case err == nil:
			all = append(all, d)
		case auditdrain.ErrorCode(err) != auditdrain.CodeNotFound:
			return nil, err
		}
	}
	return all, nil
}

// shown adds to a drain what is not stored in it.
func (s *Server) shown(c *call, d auditdrain.Drain) (auditdrain.Drain, error) {
	state, err := s.Progress.DeliveryState(c.Context(), d.ID)
	if auditdrain.ErrorCode(err) == auditdrain.CodeNotFound {
		return auditdrain.Drain{}, noDrain(d.ID) // deleted meanwhile
	}
	if err != nil {
		return auditdrain.Drain{}, err
	}
	d.ExternalID = s.Namespace.ExternalID(d.TeamID)
	d.LastError, d.Diagnosis = state.LastError, state.Diagnosis
	d.FirstErrorTimestamp = state.FirstErrorAt
	d.Status = state.Status(d)
	if c.URL.Query().Get("includeMetadata") == "true" {
		if d.Metadata, err = s.metadata(c.Context(), d, state); err != nil {
			return auditdrain.Drain{}, err
		}
	}
	return d, nil
}

func (s *Server) metadata(ctx context.Context, d auditdrain.Drain, state auditdrain.DeliveryState) (*auditdrain.DrainMetadata, error) {
	lag, err := deliver.Undelivered(ctx, s.Progress, d.TeamID, state.Cursor)
	if err != nil {
		return nil, err
	}
	m := &auditdrain.DrainMetadata{
		BacklogEvents:  lag.Events,
		BacklogBytes:   lag.Bytes,
		Delivered:      state.Delivered,
		Failed:         state.Failed,
		Skipped:        state.Skipped,
		LastDeliveryAt: state.LastDeliveryAt,
		LastErrorAt:    state.LastErrorAt,
		LastErrorEvent: state.LastErrorEvent,
	}
	if !lag.Oldest.IsZero() {
		m.OldestUndeliveredAt = lag.Oldest.UnixMilli()
	}
	if state.Diagnosis != nil {
		m.LastErrorRequestID = state.Diagnosis.RequestID
	}
	if d.Status != auditdrain.StatusDisabled { // else nothing of it is true any more
		m.NextAttemptAt, m.Window, m.SessionExpiresAt = state.NextAttemptAt, state.Window, state.SessionExpiresAt
	}
	return m, nil
}

func (s *Server) createDrain(c *call) (any, error) {
	var in auditdrain.DrainInput
	if err := readJSON(c, &in); err != nil {
		return nil, err
	}
	problems := notForAuditLogs(in.ProjectIDs, in.Filter, in.Sampling, in.Transforms)
	problems = append(problems, checkFixed(in.Projects, in.Schemas, in.Source)...)
	if in.Schemas == nil {
		problems = append(problems, auditdrain.Problem{Field: "schemas", Message: wantSchemas})
	}
	now := time.Now()
	if in.StartFrom < 0 || in.StartFrom > now.UnixMilli() {
		problems = append(problems, auditdrain.Problem{Field: "startFrom", Message: fmt.Sprintf("%d is not allowed: use Unix time in milliseconds, until now (%d)", in.StartFrom, now.UnixMilli())})
	}
	var d auditdrain.Drain
	if in.Delivery == nil {
		problems = append(problems, missingDelivery)
	} else {
		d = auditdrain.NewDrain(c.team.ID, in.Name, in.Delivery.WithDefaults(), now)
		problems = append(problems, d.Validate(s.PartitionOf)...)
		problems = append(problems, d.Delivery.ValidateWriter(s.Writer.KnownWriterARN(), s.PartitionOf)...)
		problems = append(problems, s.needsKey(auditdrain.Delivery{}, d.Delivery)...)
	}
	if err := auditdrain.FieldErrors(problems); err != nil {
		return nil, err
	}
	if err := s.safeRole(c.Context(), d); err != nil {
		return nil, err
	}
	act := c.didToDrain(auditdrain.ActionDrainCreated, d, drainChanges(auditdrain.Drain{}, d)...)
	if err := s.Drains.CreateDrain(c.Context(), d, in.StartFrom, act); err != nil {
		return nil, err
	}
	s.Deliverer.Changed(d.ID)
	return s.shown(c, d)
}

func (s *Server) updateDrain(c *call) (any, error) {
	var in auditdrain.DrainPatch
	if err := readJSON(c, &in); err != nil {
		return nil, err
	}
	problems := notForAuditLogs(in.ProjectIDs, in.Filter, in.Sampling, in.Transforms)
	projects := ""
	if in.Projects != nil {
		projects = *in.Projects
	}
	problems = append(problems, checkFixed(projects, in.Schemas, in.Source)...)
	if in.Status != nil && *in.Status != auditdrain.StatusEnabled && *in.Status != auditdrain.StatusDisabled {
		problems = append(problems, auditdrain.Problem{Field: "status", Message: fmt.Sprintf("%q is not allowed: use \"enabled\" or \"disabled\"", *in.Status)})
	}
	if in.ResumeFrom != nil {
		problems = append(problems, checkResume(in)...)
	}
	if err := auditdrain.FieldErrors(problems); err != nil {
		return nil, err
	}
	old, err := s.drain(c)
	if err != nil {
		return nil, err
	}
	after := old
	if err := s.patch(&after, in, c.token); err != nil {
		return nil, err
	}
	if in.ResumeFrom != nil && old.Status != auditdrain.StatusDisabled {
		return nil, auditdrain.Errorf(auditdrain.CodeConflict, "drain %q is not paused: only a paused drain can be resumed from now, giving up what it has not delivered", old.ID)
	}
	checked := ""
	if startsWith(old, after) {
		if err := s.safeRole(c.Context(), after); err != nil {
			return nil, err
		}
		checked = after.Delivery.RoleARN
	}
	var givenUp *auditdrain.Skip
	if in.ResumeFrom != nil {
		// Before it is enabled, or the backlog would begin to flow. If it
		// cannot be enabled, what was given up is on record all the same.
		if givenUp, err = s.skipBacklog(c, old); err != nil {
			return nil, err
		}
	}
	act := c.didToDrain("", old)
	d, err := s.Drains.UpdateDrain(c.Context(), old.TeamID, old.ID, func(d *auditdrain.Drain) error {
		before := *d
		if err := s.patch(d, in, c.token); err != nil {
			return err
		}
		if s.RefuseUnsafeRoles && startsWith(before, *d) && d.Delivery.RoleARN != checked {
			return auditdrain.Errorf(auditdrain.CodeConflict, "drain %q was changed meanwhile: try again", d.ID)
		}
		act.TargetName = d.Name
		act.Changes = drainChanges(before, *d)
		act.Action = drainAction(before, *d, act.Changes)
		return nil
	}, act)
	if err != nil {
		return nil, err
	}
	s.Deliverer.Changed(d.ID)
	d, err = s.shown(c, d)
	d.GivenUp = givenUp
	return d, err
}

// checkResume checks the resumeFrom of a patch that has one.
func checkResume(in auditdrain.DrainPatch) []auditdrain.Problem {
	message := ""
	switch {
	case *in.ResumeFrom != "now":
		message = fmt.Sprintf(`%q is not allowed: use "now", or leave it out to go on where the drain was paused`, *in.ResumeFrom)
	case in.Status == nil || *in.Status != auditdrain.StatusEnabled:
		message = `is not allowed without "status":"enabled", which resumes the drain`
	default:
		return nil
	}
	return []auditdrain.Problem{{Field: "resumeFrom", Message: message}}
}

// startsWith reports whether a change makes a drain deliver through a role
// that it did not deliver through before.
func startsWith(before, after auditdrain.Drain) bool {
	return after.Status == auditdrain.StatusEnabled &&
		(before.Status != auditdrain.StatusEnabled || before.Delivery.RoleARN != after.Delivery.RoleARN)
}

// patch applies in to d, on behalf of the token's holder.
func (s *Server) patch(d *auditdrain.Drain, in auditdrain.DrainPatch, by auditdrain.Token) error {
	now := time.Now().UnixMilli()
	d.UpdatedAt = now
	before := d.Delivery
	if in.Name != nil {
		d.Name = *in.Name
	}
	if in.Delivery != nil {
		d.Delivery = in.Delivery.Apply(d.Delivery)
	}
	if in.Name != nil || in.Delivery != nil { // whatever a drain is, it can be paused
		problems := d.Validate(s.PartitionOf)
		if in.Delivery != nil {
			problems = append(problems, d.Delivery.ValidateWriter(s.Writer.KnownWriterARN(), s.PartitionOf)...)
			problems = append(problems, s.needsKey(before, d.Delivery)...)
		}
		if err := auditdrain.FieldErrors(problems); err != nil {
			return err
		}
	}
	if in.Status != nil && *in.Status != d.Status {
		d.Status = *in.Status
		d.DisabledAt, d.DisabledBy, d.DisabledReason = 0, "", ""
		if d.Status == auditdrain.StatusDisabled {
			d.DisabledAt, d.DisabledBy = now, by.ID
			d.DisabledReason = "disabled-by-owner"
			if by.Role == auditdrain.RoleOperator {
				d.DisabledReason = "disabled-by-admin"
			}
		}
	}
	return nil
}

func (s *Server) deleteDrain(c *call) (any, error) {
	d, err := s.drain(c)
	if err != nil {
		return nil, err
	}
	if err := s.Drains.DeleteDrain(c.Context(), d.TeamID, d.ID, c.didToDrain(auditdrain.ActionDrainDeleted, d)); err != nil {
		return nil, err
	}
	s.Deliverer.Changed(d.ID)
	return nil, nil
}

const wantSchemas = `use {"audit_log":{"version":"v1"}}`

var missingDelivery = auditdrain.Problem{Field: "delivery", Message: `missing: say where to deliver, as {"type":"s3","endpoint":"s3://bucket/prefix", …}`}

// checkFixed checks the fields that can have one value for audit logs.
func checkFixed(projects string, schemas map[string]auditdrain.SchemaVersion, source *auditdrain.Source) []auditdrain.Problem {
	var ps []auditdrain.Problem
	bad := func(field, format string, args ...any) {
		ps = append(ps, auditdrain.Problem{Field: field, Message: fmt.Sprintf(format, args...)})
	}
	if projects != "" && projects != "all" {
		bad("projects", `%q is not available for audit logs, which cover the whole team: use "all"`, projects)
	}
	if source != nil && source.Kind != "" && source.Kind != "self-served" {
		bad("source.kind", `%q is not allowed: use "self-served"`, source.Kind)
	}
	if schemas != nil && len(schemas) == 0 {
		bad("schemas", "is empty: %s", wantSchemas)
	}
	for name, v := range schemas {
		if name != "audit_log" {
			bad("schemas", "%q is not available: %s", name, wantSchemas)
		} else if v.Version != "" && v.Version != "v1" {
			bad("schemas.audit_log.version", `%q is not allowed: use "v1"`, v.Version)
		}
	}
	return ps
}

// notForAuditLogs refuses what other kinds of drain have. To ignore it would
// deliver more than was asked for.
func notForAuditLogs(projectIDs, filter, sampling, transforms json.RawMessage) []auditdrain.Problem {
	var ps []auditdrain.Problem
	for _, f := range []struct {
		name  string
		value json.RawMessage
	}{{"projectIds", projectIDs}, {"filter", filter}, {"sampling", sampling}, {"transforms", transforms}} {
		switch string(f.value) {
		case "", "null", "[]":
		default:
			ps = append(ps, auditdrain.Problem{Field: f.name, Message: fmt.Sprintf("%s is not available for audit logs, which are always complete: leave it out", f.value)})
		}
	}
	return ps
}
