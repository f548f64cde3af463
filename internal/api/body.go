package api

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/auditdrain/auditdrain"
)

// maxBody bounds the bodies of requests that configure something.
const maxBody = 1 << 20

// readJSON decodes a request's body into v. Unknown and duplicate names are
// refused: a setting that is misspelt must not be ignored.
func readJSON(c *call, v any) error {
	body, err := io.ReadAll(io.LimitReader(c.Body, maxBody+1))
	if err != nil {
		return auditdrain.Errorf(auditdrain.CodeBadRequest, "the body ended early: %v", err)
	}
	if len(body) > maxBody {
		return auditdrain.Errorf(auditdrain.CodeTooLarge, "the body has more than %d bytes", maxBody)
	}
	if err := otherDelivery(body); err != nil {
		return err
	}
	err = json.Unmarshal(body, v, json.RejectUnknownMembers(true))
	var semantic *json.SemanticError
	var syntax *jsontext.SyntacticError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, json.ErrUnknownName):
		errors.As(err, &semantic)
		return badField(semantic.JSONPointer, "is not a known field: use "+strings.Join(fieldNames(v, semantic.JSONPointer), ", "))
	case errors.As(err, &semantic):
		return badField(semantic.JSONPointer, fmt.Sprintf("must be %s, not %s", goKind(semantic.GoType), jsonKind(semantic.JSONKind)))
	case errors.As(err, &syntax):
		return badField(syntax.JSONPointer, fmt.Sprintf("not valid JSON at byte %d: %v", syntax.ByteOffset, syntax.Err))
	}
	return auditdrain.Errorf(auditdrain.CodeBadRequest, "the body is not valid JSON: %v", err)
}

// checkQuery refuses parameters that a route does not have, and those that are
// there twice: a setting that is misspelt must not be ignored.
func checkQuery(c *call, params []param) error {
	known := []string{"teamId", "slug"}
	for _, p := range params {
		known = append(known, p.name)
	}
	var problems []auditdrain.Problem
	query := c.URL.Query()
	for _, name := range slices.Sorted(maps.Keys(query)) {
		switch {
		case !slices.Contains(known, name):
			problems = append(problems, auditdrain.Problem{Field: name, Message: "is not a known parameter: use " + strings.Join(known, ", ")})
		case len(query[name]) > 1:
			problems = append(problems, auditdrain.Problem{Field: name, Message: fmt.Sprintf("is there %d times: give it once", len(query[name]))})
		}
	}
	return auditdrain.FieldErrors(problems)
}

func badField(at jsontext.Pointer, message string) error {
	field := strings.ReplaceAll(strings.TrimPrefix(string(at), "/"), "/", ".")
	if field == "" {
		field = "body"
	}
	return auditdrain.FieldErrors([]auditdrain.Problem{{Field: field, Message: message}})
}

// otherDelivery refuses deliveries of other types before their own fields,
// which we do not know, are complained of.
func otherDelivery(body []byte) error {
	var peek struct {
		Delivery struct {
			Type string `json:"type"`
		} `json:"delivery"`
	}
	if json.Unmarshal(body, &peek) != nil {
		return nil // the real decoding says what is wrong
	}
	if t := peek.Delivery.Type; t != "" && t != "s3" {
		never := func(string) (string, bool) { return "", false }
		return auditdrain.FieldErrors(auditdrain.Delivery{Type: t}.Validate(never))
	}
	return nil
}

// fieldNames lists what the object that holds the field at p may have.
func fieldNames(v any, p jsontext.Pointer) []string {
	t := reflect.TypeOf(v).Elem()
	for name := range p.Parent().Tokens() {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		switch t.Kind() {
		case reflect.Map, reflect.Slice:
			t = t.Elem()
		case reflect.Struct:
			for _, f := range reflect.VisibleFields(t) {
				if jsonName(f) == name {
					t = f.Type
					break
				}
			}
		}
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var names []string
	for _, f := range reflect.VisibleFields(t) {
		// What is raw is known only to be refused.
		if name := jsonName(f); name != "" && name != "-" && f.Type.String() != "json.RawMessage" {
			names = append(names, name)
		}
	}
	return names
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

func goKind(t reflect.Type) string {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil {
		return "something else"
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Int64, reflect.Int:
		return "a whole number"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "an array"
	}
	return "an object"
}

func jsonKind(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "true or false"
	case '"':
		return "a string"
	case '0':
		return "this number"
	case '[':
		return "an array"
	case '{':
		return "an object"
	}
	return "this"
}
