package auditdrain

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSetupQueryTravels(t *testing.T) {
	var q SetupQuery
	v := reflect.ValueOf(&q).Elem()
	for i := range v.NumField() {
		v.Field(i).SetString("a b&c=" + v.Type().Field(i).Name)
	}
	if diff := cmp.Diff(q, ParseSetupQuery(q.Values())); diff != "" {
		t.Error(diff)
	}
	if got := (SetupQuery{}).Values().Encode(); got != "" {
		t.Errorf("nothing is sent as %q", got)
	}
}

// Every parameter that is given is checked.
func TestSetupQueryValidate(t *testing.T) {
	partitionOf := func(region string) (string, bool) { return "aws", region == "eu-central-1" }
	if ps := (SetupQuery{}).Validate(partitionOf); ps != nil {
		t.Errorf("nothing has problems: %v", ps)
	}
	for _, f := range setupFields {
		var q SetupQuery
		*f.value(&q) = "no such value"
		if ps := q.Validate(partitionOf); len(ps) != 1 || ps[0].Field != f.name {
			t.Errorf("%s: %v", f.name, ps)
		}
	}
}
