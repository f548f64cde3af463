package kit

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// stack is a CloudFormation template with the values that decide what becomes of it.
type stack struct {
	template   map[string]any
	parameters map[string]any // those given; the others have their defaults
	partition  string
	urlSuffix  string
	region     string
}

const (
	account    = "111122223333"
	createdKey = "key/00000000-1111-2222-3333-444444444444"
)

// readTemplate reads the short forms of functions as their long ones.
func readTemplate(t *testing.T, text string) map[string]any {
	t.Helper()
	var root yaml.Node
	if err := yaml.Unmarshal([]byte(text), &root); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return plain(t, root.Content[0]).(map[string]any)
}

func plain(t *testing.T, n *yaml.Node) any {
	t.Helper()
	var v any
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if _, twice := m[key]; twice {
				t.Fatalf("line %d: %q is there twice", n.Content[i].Line, key)
			}
			m[key] = plain(t, n.Content[i+1])
		}
		v = m
	case yaml.SequenceNode:
		list := []any{}
		for _, c := range n.Content {
			list = append(list, plain(t, c))
		}
		v = list
	default:
		if strings.HasPrefix(n.Tag, "!!") {
			if err := n.Decode(&v); err != nil {
				t.Fatal(err)
			}
		} else {
			v = n.Value
		}
	}
	switch function, _ := strings.CutPrefix(n.Tag, "!"); {
	case strings.HasPrefix(function, "!") || function == "":
		return v
	case function == "Ref" || function == "Condition":
		return map[string]any{function: v}
	case function == "GetAtt":
		resource, attribute, _ := strings.Cut(v.(string), ".")
		return map[string]any{"Fn::GetAtt": []any{resource, attribute}}
	default:
		return map[string]any{"Fn::" + function: v}
	}
}

// noValue is what AWS::NoValue stands for: nothing at all.
type noValue struct{}

// eval is what CloudFormation makes of v.
func (s stack) eval(v any) any {
	switch v := v.(type) {
	case []any:
		list := []any{}
		for _, e := range v {
			if e = s.eval(e); e != (noValue{}) {
				list = append(list, e)
			}
		}
		return list
	case map[string]any:
		if len(v) == 1 {
			for name, argument := range v {
				if name == "Ref" || name == "Condition" && isString(argument) || strings.HasPrefix(name, "Fn::") {
					return s.call(name, argument)
				}
			}
		}
		m := map[string]any{}
		for key, e := range v {
			if e = s.eval(e); e != (noValue{}) {
				m[key] = e
			}
		}
		return m
	}
	return v
}

func isString(v any) bool { _, ok := v.(string); return ok }

func (s stack) call(name string, argument any) any {
	list, _ := argument.([]any)
	switch name {
	case "Ref":
		return s.ref(argument.(string))
	case "Condition":
		return s.condition(argument.(string))
	case "Fn::GetAtt":
		return s.attribute(list[0].(string), list[1].(string))
	case "Fn::Sub":
		return subRE.ReplaceAllStringFunc(argument.(string), func(m string) string {
			name := m[2 : len(m)-1]
			if resource, attribute, ok := strings.Cut(name, "."); ok {
				return s.attribute(resource, attribute)
			}
			return s.ref(name).(string)
		})
	case "Fn::If":
		if s.condition(list[0].(string)) {
			return s.eval(list[1])
		}
		return s.eval(list[2])
	case "Fn::Equals":
		return s.eval(list[0]) == s.eval(list[1])
	case "Fn::Not":
		return s.eval(list[0]) == false
	case "Fn::And":
		return !slices.ContainsFunc(list, func(e any) bool { return s.eval(e) == false })
	case "Fn::Or":
		return slices.ContainsFunc(list, func(e any) bool { return s.eval(e) == true })
	case "Fn::Contains":
		return slices.Contains(s.eval(list[0]).([]any), s.eval(list[1]))
	}
	panic(name + " is not known to this test")
}

var subRE = regexp.MustCompile(`\$\{[^!}][^}]*\}`)

func (s stack) section(name string) map[string]any {
	section, _ := s.template[name].(map[string]any)
	return section
}

func (s stack) condition(name string) bool {
	c, ok := s.section("Conditions")[name]
	if !ok {
		panic("no condition " + name)
	}
	return s.eval(c).(bool)
}

func (s stack) ref(name string) any {
	switch name {
	case "AWS::NoValue":
		return noValue{}
	case "AWS::Partition":
		return s.partition
	case "AWS::URLSuffix":
		return s.urlSuffix
	case "AWS::AccountId":
		return account
	case "AWS::Region":
		return s.region
	}
	if value, ok := s.parameter(name); ok {
		return value
	}
	if name == "Role" || name == "Bucket" { // whose names identify them
		return s.properties(name)[name+"Name"]
	}
	panic("no " + name)
}

func (s stack) parameter(name string) (any, bool) {
	p, ok := s.section("Parameters")[name].(map[string]any)
	if !ok {
		return nil, false
	}
	if value, ok := s.parameters[name]; ok {
		return value, true
	}
	value, ok := p["Default"]
	return value, ok
}

func (s stack) attribute(resource, attribute string) string {
	switch resource + "." + attribute {
	case "Role.Arn":
		p := s.properties("Role")
		return fmt.Sprintf("arn:%s:iam::%s:role%s%s", s.partition, account, p["Path"], p["RoleName"])
	case "Bucket.Arn":
		return fmt.Sprintf("arn:%s:s3:::%s", s.partition, s.properties("Bucket")["BucketName"])
	case "Key.Arn":
		return fmt.Sprintf("arn:%s:kms:%s:%s:%s", s.partition, s.region, account, createdKey)
	}
	panic("no " + resource + "." + attribute)
}

// resource is one that the stack has, or nil.
func (s stack) resource(name string) map[string]any {
	r := s.section("Resources")[name].(map[string]any)
	if condition, ok := r["Condition"]; ok && !s.condition(condition.(string)) {
		return nil
	}
	return r
}

func (s stack) properties(name string) map[string]any {
	r := s.resource(name)
	if r == nil {
		return nil
	}
	return s.eval(r["Properties"]).(map[string]any)
}

// output is one that the stack has, or nil.
func (s stack) output(name string) any {
	o := s.section("Outputs")[name].(map[string]any)
	if condition, ok := o["Condition"]; ok && !s.condition(condition.(string)) {
		return nil
	}
	return s.eval(o["Value"])
}

// refusals is why CloudFormation would not make the stack.
func (s stack) refusals() []string {
	var found []string
	for name, p := range s.section("Parameters") {
		p := p.(map[string]any)
		value, ok := s.parameter(name)
		text := fmt.Sprint(value)
		pattern, hasPattern := p["AllowedPattern"].(string)
		allowed, hasAllowed := p["AllowedValues"].([]any)
		switch {
		case !ok:
			found = append(found, name+": missing")
		case hasPattern && !regexp.MustCompile(`^(?:`+pattern+`)$`).MatchString(text):
			found = append(found, fmt.Sprintf("%s: %q does not match %s", name, text, pattern))
		case hasAllowed && !slices.Contains(allowed, value):
			found = append(found, fmt.Sprintf("%s: %q is not one of %v", name, text, allowed))
		}
		for bound, sign := range map[string]int{"MinLength": 1, "MaxLength": -1} {
			if n, ok := p[bound].(int); ok && sign*(len(text)-n) < 0 {
				found = append(found, fmt.Sprintf("%s: %q against %s %d", name, text, bound, n))
			}
		}
	}
	if len(found) > 0 {
		return found
	}
	for _, rule := range s.section("Rules") {
		rule := rule.(map[string]any)
		if s.eval(rule["RuleCondition"]) != true {
			continue
		}
		for _, a := range rule["Assertions"].([]any) {
			if a := a.(map[string]any); s.eval(a["Assert"]) != true {
				found = append(found, a["AssertDescription"].(string))
			}
		}
	}
	return found
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
