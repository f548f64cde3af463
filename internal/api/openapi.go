package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/ingest"
)

// openAPI serves the OpenAPI 3.1 description of all routes.
func (s *Server) openAPI(w http.ResponseWriter, r *http.Request) {
	doc, err := s.openAPIDocument()
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, doc)
}

// object keeps the document short to write; encoding/json sorts its names, so
// that the document is the same every time.
type object = map[string]any

func (s *Server) openAPIDocument() (object, error) {
	schemas := object{}
	// ref names the schema of v's type, adding it if need be.
	ref := func(v any) (object, error) {
		t := reflect.TypeOf(v)
		name := strings.ToUpper(t.Name()[:1]) + strings.TrimSuffix(t.Name()[1:], "Doc")
		if _, ok := schemas[name]; !ok {
			schema, err := schemaOf(t)
			if err != nil {
				return nil, fmt.Errorf("describe %s: %w", t, err)
			}
			schemas[name] = schema
		}
		return object{"$ref": "#/components/schemas/" + name}, nil
	}
	errorRef, err := ref(auditdrain.Error{})
	if err != nil {
		return nil, err
	}

	paths := object{}
	for _, rt := range s.table {
		op, err := operation(rt, ref)
		if err != nil {
			return nil, err
		}
		item, ok := paths[rt.path].(object)
		if !ok {
			item = object{}
			paths[rt.path] = item
		}
		item[strings.ToLower(rt.method)] = op
	}
	return object{
		"openapi": "3.1.0",
		"info": object{
			"title":       "auditdrain",
			"version":     s.Version,
			"description": "Audit events in, objects in each team's own S3 bucket out. Every error has the shape {\"error\":{code,message}}.",
			"license":     object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		"servers": []object{{"url": "/"}},
		"paths":   paths,
		"components": object{
			"schemas":         schemas,
			"securitySchemes": object{"bearer": object{"type": "http", "scheme": "bearer"}},
			"responses": object{"Error": object{
				"description": "What is wrong, for a program (code) and for a person (message).",
				"content": object{"application/json": object{"schema": object{
					"type": "object", "required": []string{"error"}, "properties": object{"error": errorRef},
				}}},
			}},
		},
	}, nil
}

func operation(rt route, ref func(any) (object, error)) (object, error) {
	op := object{
		"operationId": operationID(rt),
		"summary":     strings.SplitAfter(rt.summary, ".")[0],
		"description": rt.summary,
	}
	if rt.raw != nil {
		op["responses"] = object{"200": object{"description": "OK"}}
		return op, nil
	}
	op["security"] = []object{{"bearer": []string{}}}
	op["description"] = rt.summary + " Roles: " + rt.rolesText() + "."

	var params []object
	for part := range strings.SplitSeq(rt.path, "/") {
		if strings.HasPrefix(part, "{") {
			params = append(params, object{"name": strings.Trim(part, "{}"), "in": "path", "required": true, "schema": object{"type": "string"}})
		}
	}
	query := rt.query
	if rt.team != noTeam && !strings.Contains(rt.path, "{idOrSlug}") {
		query = append([]param{
			{"teamId", "The team's id. May be left out with a token that is for one team."},
			{"slug", "The team's slug, instead of teamId."},
		}, query...)
	}
	for _, p := range query {
		params = append(params, object{"name": p.name, "in": "query", "description": p.doc, "schema": object{"type": "string"}})
	}
	if params != nil {
		op["parameters"] = params
	}

	if rt.in != nil {
		schema, err := ref(rt.in)
		if err != nil {
			return nil, err
		}
		content := object{"application/json": object{"schema": schema}}
		if _, ok := rt.in.(eventDoc); ok {
			content = object{
				ingest.TypeJSON:   object{"schema": object{"oneOf": []object{schema, {"type": "array", "items": schema, "maxItems": auditdrain.MaxBatchEvents}}}},
				ingest.TypeNDJSON: object{"schema": object{"type": "string", "description": "one event a line"}},
			}
		}
		op["requestBody"] = object{"required": true, "content": content}
	}
	responses := object{"default": object{"$ref": "#/components/responses/Error"}}
	if rt.out == nil {
		responses["204"] = object{"description": "Done."}
	} else {
		schema, err := ref(rt.out)
		if err != nil {
			return nil, err
		}
		responses["200"] = object{"description": "OK", "content": object{"application/json": object{"schema": schema}}}
	}
	op["responses"] = responses
	return op, nil
}

// operationID turns "GET /v1/drains/{id}" into "getV1DrainsId".
func operationID(rt route) string {
	id := strings.ToLower(rt.method)
	for _, part := range strings.FieldsFunc(rt.path, func(r rune) bool { return strings.ContainsRune("/{}._-", r) }) {
		id += strings.ToUpper(part[:1]) + part[1:]
	}
	return id
}

func schemaOf(t reflect.Type) (*jsonschema.Schema, error) {
	schema, err := jsonschema.ForType(t, &jsonschema.ForOptions{
		TypeSchemas: map[reflect.Type]*jsonschema.Schema{
			reflect.TypeFor[json.RawMessage](): {Description: "Belongs to other kinds of drain: refused unless null or []."},
		},
	})
	if err != nil {
		return nil, err
	}
	open(schema)
	return schema, nil
}

// open allows fields that are not described: events may have any, and answers
// may get more with time.
func open(s *jsonschema.Schema) {
	if s == nil {
		return
	}
	if s.Properties != nil {
		s.AdditionalProperties = nil
	}
	for _, p := range s.Properties {
		open(p)
	}
	open(s.Items)
	open(s.AdditionalProperties)
}
