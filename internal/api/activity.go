package api

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	"github.com/auditdrain/auditdrain"
)

// did is what is recorded of a call that does action to a target.
func (c *call) did(action, teamID, targetID, targetName string, changes ...auditdrain.ActivityChange) *auditdrain.Activity {
	return &auditdrain.Activity{
		ID:         auditdrain.NewID("uev_"),
		At:         time.Now().UnixMilli(),
		TeamID:     teamID,
		Actor:      auditdrain.ActivityActor{ID: c.token.ID, Name: c.token.Name, Role: c.token.Role, Session: c.session},
		Action:     action,
		TargetID:   targetID,
		TargetName: targetName,
		Changes:    changes,
		IPAddress:  RemoteIP(c.Request),
		UserAgent:  UserAgent(c.Request),
	}
}

// didToDrain is did for what is done to a drain.
func (c *call) didToDrain(action string, d auditdrain.Drain, changes ...auditdrain.ActivityChange) *auditdrain.Activity {
	return c.did(action, d.TeamID, d.ID, d.Name, changes...)
}

// changes collects the fields that differ.
type changes []auditdrain.ActivityChange

func (cs *changes) add(field, from, to string) {
	if from != to {
		*cs = append(*cs, auditdrain.ActivityChange{Field: field, From: from, To: to})
	}
}

// drainChanges are the differences between two states of a drain that people
// made. What is not set yet differs from all that is.
func drainChanges(before, after auditdrain.Drain) []auditdrain.ActivityChange {
	var cs changes
	cs.add("name", before.Name, after.Name)
	cs.add("status", string(before.Status), string(after.Status))
	return append(cs, deliveryChanges(before.Delivery, after.Delivery)...)
}

func deliveryChanges(b, a auditdrain.Delivery) []auditdrain.ActivityChange {
	var cs changes
	cs.add("delivery.type", b.Type, a.Type)
	cs.add("delivery.endpoint", b.Endpoint, a.Endpoint)
	cs.add("delivery.encoding", b.Encoding, a.Encoding)
	cs.add("delivery.compression", b.Compression, a.Compression)
	cs.add("delivery.fileStructure", b.FileStructure, a.FileStructure)
	cs.add("delivery.roleArn", b.RoleARN, a.RoleARN)
	cs.add("delivery.region", b.Region, a.Region)
	cs.add("delivery.serverSideEncryption", b.ServerSideEncryption, a.ServerSideEncryption)
	cs.add("delivery.objectAcl", b.ObjectACL, a.ObjectACL)
	cs.add("delivery.integrity", strconv.FormatBool(b.Integrity), strconv.FormatBool(a.Integrity))
	return cs
}

// drainAction is what changes of a drain are called; none are not called
// anything, and so not recorded.
func drainAction(before, after auditdrain.Drain, made []auditdrain.ActivityChange) string {
	switch {
	case len(made) == 0:
		return ""
	case before.Status == after.Status:
		return auditdrain.ActionDrainUpdated
	case after.Status == auditdrain.StatusDisabled:
		return auditdrain.ActionDrainPaused
	}
	return auditdrain.ActionDrainResumed
}

// set is a field of something new.
func set(field, to string) auditdrain.ActivityChange {
	return auditdrain.ActivityChange{Field: field, To: to}
}

// moment is a point in time as changes show it: as in REST, or empty.
func moment(ms int64) string {
	if ms == 0 {
		return ""
	}
	return strconv.FormatInt(ms, 10)
}

const defaultActivities = 50

var activityParams = []param{
	{"limit", fmt.Sprintf("How many at most, 1 to %d; %d without it.", auditdrain.MaxPage, defaultActivities)},
	{"before", "Only those with a lower number: next of the page before."},
}

func (s *Server) listActivity(c *call) (any, error) {
	if err := checkQuery(c, activityParams); err != nil {
		return nil, err
	}
	var problems []auditdrain.Problem
	limit, err := strconv.Atoi(cmp.Or(c.URL.Query().Get("limit"), strconv.Itoa(defaultActivities)))
	if err != nil || limit < 1 || limit > auditdrain.MaxPage {
		problems = append(problems, auditdrain.Problem{Field: "limit", Message: fmt.Sprintf("%q is not allowed: use 1 to %d", c.URL.Query().Get("limit"), auditdrain.MaxPage)})
	}
	before, err := strconv.ParseUint(cmp.Or(c.URL.Query().Get("before"), "0"), 10, 64)
	if err != nil {
		problems = append(problems, auditdrain.Problem{Field: "before", Message: fmt.Sprintf("%q is not allowed: use a number that next gave", c.URL.Query().Get("before"))})
	}
	if err := auditdrain.FieldErrors(problems); err != nil {
		return nil, err
	}
	found, err := s.Activities.Activities(c.Context(), auditdrain.ActivityQuery{TeamID: c.team.ID, Before: before, Limit: limit + 1})
	if err != nil {
		return nil, err
	}
	list := auditdrain.ActivityList{Activities: notNil(found)}
	if len(found) > limit {
		list.Activities = found[:limit]
		list.Next = found[limit-1].Number
	}
	return list, nil
}
