package web

import (
	"net/url"
	"strconv"

	"github.com/auditdrain/auditdrain"
)

// activityPerPage is how many activities one page lists.
const activityPerPage = 50

// activityPage is what the page of what people did shows.
type activityPage struct {
	Operator   bool
	Team       string // whose; empty: all
	Activities []auditdrain.Activity
	Newest     string // address of the first page, if this is another
	Older      string // address of the next page, if there is one
}

// activityList lists who changed what, the latest first.
func (s *Server) activityList(v *visit) (reply, error) {
	q := auditdrain.ActivityQuery{TeamID: v.team(), Limit: activityPerPage}
	if before := v.FormValue("before"); before != "" {
		var err error
		if q.Before, err = strconv.ParseUint(before, 10, 64); err != nil {
			return reply{}, auditdrain.Errorf(auditdrain.CodeBadRequest, "before: %q is not a number", before)
		}
	}
	list, err := s.client.ListActivity(v.Context(), q)
	if err != nil {
		return reply{}, err
	}
	page := activityPage{Operator: v.operator(), Team: v.FormValue("team"), Activities: list.Activities}
	address := func(before uint64) string {
		query := url.Values{}
		if page.Team != "" {
			query.Set("team", page.Team)
		}
		if before != 0 {
			query.Set("before", strconv.FormatUint(before, 10))
		}
		return (&url.URL{Path: "/activity", RawQuery: query.Encode()}).String()
	}
	if q.Before != 0 {
		page.Newest = address(0)
	}
	if list.Next != 0 {
		page.Older = address(list.Next)
	}
	return reply{page: "activity", title: "Activity", data: page, visit: v}, nil
}

// actionTexts say what an action did, for people.
var actionTexts = map[string]string{
	auditdrain.ActionDrainCreated:      "created the drain",
	auditdrain.ActionDrainUpdated:      "changed the drain",
	auditdrain.ActionDrainPaused:       "paused the drain",
	auditdrain.ActionDrainResumed:      "resumed the drain",
	auditdrain.ActionDrainDeleted:      "deleted the drain",
	auditdrain.ActionDrainTested:       "tested the drain",
	auditdrain.ActionBacklogGivenUp:    "gave up the backlog of the drain",
	auditdrain.ActionEventSkipped:      "gave up an event of the drain",
	auditdrain.ActionReplayStarted:     "started a replay of the drain",
	auditdrain.ActionReplayCancelled:   "cancelled a replay of the drain",
	auditdrain.ActionTeamCreated:       "created the team",
	auditdrain.ActionTeamUpdated:       "changed the settings of the team",
	auditdrain.ActionTokenCreated:      "made the token",
	auditdrain.ActionTokenRevoked:      "revoked the token",
	auditdrain.ActionPortalLinkCreated: "made a portal link for",
	auditdrain.ActionSigningKeyCreated: "made the signing key",
	auditdrain.ActionLoggedIn:          "logged in",
	auditdrain.ActionLoggedOut:         "logged out",
}

func actionText(action string) string {
	if text := actionTexts[action]; text != "" {
		return text
	}
	return action
}
