package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/auditdrain/auditdrain"
)

// newDrainPage sets a drain up.
func (s *Server) newDrainPage(v *visit) (reply, error) {
	if err := mayChange(v); err != nil {
		return reply{}, err
	}
	if v.team() == "" {
		return s.pickTeam(v)
	}
	team, err := s.client.GetTeam(v.Context(), v.team())
	if err != nil {
		return reply{}, err
	}
	f := newDrainForm(team, s.Regions)
	f.typed["encoding"] = auditdrain.Encodings[0]
	return s.drainForm(v, f)
}

// editDrainPage changes a drain.
func (s *Server) editDrainPage(v *visit) (reply, error) {
	if err := mayChange(v); err != nil {
		return reply{}, err
	}
	drain, err := s.client.GetDrain(v.Context(), v.team(), v.PathValue("id"))
	if err != nil {
		return reply{}, err
	}
	team, err := s.client.GetTeam(v.Context(), drain.TeamID)
	if err != nil {
		return reply{}, err
	}
	f := newDrainForm(team, s.Regions)
	f.change(drain)
	return s.drainForm(v, f)
}

// mayChange refuses the page to who could do nothing on it.
func mayChange(v *visit) error {
	if !v.owner() {
		return auditdrain.Errorf(auditdrain.CodeForbidden, "Only an owner of the team can set drains up. Ask one, or log in with an owner's token.")
	}
	return nil
}

// drainForm answers with the form, after doing what a button said.
func (s *Server) drainForm(v *visit, f *drainForm) (reply, error) {
	if v.Method == http.MethodPost {
		f.read(v)
		to, err := s.press(v, f)
		if err = f.refused(err); err != nil {
			return reply{}, err
		}
		if to != "" {
			return redirect(to), nil
		}
	}
	if err := s.writeDocuments(v.Context(), f); err != nil {
		return reply{}, err
	}
	title := "Create a drain"
	if f.Editing() {
		title = "Edit " + f.Drain.Name
	}
	answer := reply{page: "drainform", title: title, data: f, visit: v}
	if v.Method == http.MethodPost {
		answer.status = f.status
	}
	return answer, nil
}

// press does what the button says that was pressed. It returns where that
// leads, "" for the form again.
func (s *Server) press(v *visit, f *drainForm) (to string, err error) {
	ctx := v.Context()
	switch f.did = v.PostFormValue("do"); f.did {
	case "check":
		report, err := s.client.CheckPolicies(ctx, f.Team.ID, f.policyCheck())
		if err != nil {
			return "", err
		}
		f.Report = &report
	case "test":
		return "", s.testForm(v, f)
	case "create":
		return s.save(ctx, f)
	default:
		f.did = "documents"
	}
	return "", nil
}

// testForm tries a delivery with what was typed.
func (s *Server) testForm(v *visit, f *drainForm) error {
	delivery := f.delivery()
	result, err := s.client.TestDelivery(v.Context(), f.Team.ID, auditdrain.DrainTestInput{
		Schemas: auditdrain.AuditLogSchemas(), Delivery: &delivery, Details: true,
	})
	if err != nil {
		return err
	}
	f.Test = &testResult{Result: result, At: v.now.UnixMilli(), Delivery: delivery, Drain: strings.TrimSpace(f.Value("name") + " " + f.Drain.ID)}
	if check := f.policyCheck(); result.Status != "" && len(check.Policies) > 0 {
		// What cannot be checked gives no fixes; the result of the test counts.
		if report, err := s.client.CheckPolicies(v.Context(), f.Team.ID, check); err == nil {
			f.Test.Fixes = report.Fixes
		}
	}
	return nil
}

// save creates the drain, or changes it.
func (s *Server) save(ctx context.Context, f *drainForm) (to string, err error) {
	name, delivery := f.Value("name"), f.delivery()
	if f.Editing() {
		if _, err := s.client.UpdateDrain(ctx, f.Team.ID, f.Drain.ID, auditdrain.DrainPatch{
			Name: &name, Delivery: &auditdrain.DeliveryPatch{Delivery: &delivery, Integrity: &delivery.Integrity},
		}); err != nil {
			return "", err
		}
		return "/drains/" + url.PathEscape(f.Drain.ID) + "?done=saved", nil
	}
	since, err := f.since()
	if err != nil {
		return "", err
	}
	drain, err := s.client.CreateDrain(ctx, f.Team.ID, auditdrain.DrainInput{
		Name: name, Schemas: auditdrain.AuditLogSchemas(), Delivery: &delivery, StartFrom: since,
	})
	if err != nil {
		return "", err
	}
	return "/drains/" + url.PathEscape(drain.ID) + "?done=created", nil
}

// writeDocuments adds policies and templates, made from what was typed. What
// is wrong in it is left out of them, and told at its field.
func (s *Server) writeDocuments(ctx context.Context, f *drainForm) error {
	values := f.setupQuery().Values()
	for {
		query := auditdrain.ParseSetupQuery(values)
		setup, err := s.client.Setup(ctx, f.Team.ID, query)
		if err == nil {
			f.Setup, f.known = &setup, query
			if f.Test != nil {
				f.Test.ExternalID = setup.ExternalID
			}
			return nil
		}
		var e *auditdrain.Error
		if !errors.As(err, &e) {
			return err
		}
		left := len(values)
		for _, p := range e.Details {
			values.Del(p.Field)
		}
		switch {
		case len(values) < left:
			if err := f.refused(err); err != nil {
				return err
			}
		case e.Code == auditdrain.CodeUnavailable:
			f.NoSetup = e.Message
			return nil
		default:
			return err
		}
	}
}

// kitFile downloads one of the documents.
func (s *Server) kitFile(v *visit) (reply, error) {
	for _, k := range kitFiles {
		if k.name != v.PathValue("file") {
			continue
		}
		setup, err := s.client.Setup(v.Context(), v.team(), auditdrain.ParseSetupQuery(v.URL.Query()))
		if err != nil {
			return reply{}, err
		}
		if content := k.content(setup); content != "" {
			return reply{file: k.name, contentType: k.contentType, content: content}, nil
		}
	}
	return reply{}, auditdrain.Errorf(auditdrain.CodeNotFound, "there is no file %q for such a drain", v.PathValue("file"))
}

// kitFiles are what can be downloaded.
var kitFiles = []struct {
	name, contentType string
	content           func(auditdrain.Setup) string
}{
	{"trust-policy.json", "application/json", func(s auditdrain.Setup) string { return s.TrustPolicy }},
	{"permissions-policy.json", "application/json", func(s auditdrain.Setup) string { return s.PermissionsPolicy }},
	{"key-policy-statement.json", "application/json", func(s auditdrain.Setup) string { return s.KeyPolicyStatement }},
	{"template.yaml", "application/yaml", func(s auditdrain.Setup) string { return s.CloudFormation }},
	{"main.tf", "text/plain; charset=utf-8", func(s auditdrain.Setup) string { return s.Terraform }},
	{"athena.sql", "application/sql", func(s auditdrain.Setup) string { return s.Athena }},
	{"duckdb.sql", "application/sql", func(s auditdrain.Setup) string { return s.DuckDB }},
	{"setup.sh", "text/plain; charset=utf-8", func(s auditdrain.Setup) string { return s.CLI }},
}

// teamPicker is what operators get who have not said for whom a drain is.
type teamPicker struct {
	Search  string
	Teams   []auditdrain.Team
	Matches int
}

// maxPicked bounds the teams to choose from on one page.
const maxPicked = 50

func (s *Server) pickTeam(v *visit) (reply, error) {
	search := strings.TrimSpace(v.FormValue("search"))
	list, err := s.client.FindTeams(v.Context(), search, maxPicked)
	if err != nil {
		return reply{}, err
	}
	p := teamPicker{Search: search, Teams: list.Teams, Matches: len(list.Teams)}
	if list.Matches != nil {
		p.Matches = *list.Matches
	}
	return reply{page: "teampicker", title: "Create a drain", data: p, visit: v}, nil
}
