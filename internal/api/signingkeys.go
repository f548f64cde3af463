package api

import (
	"net/http"
	"slices"
	"time"

	"github.com/auditdrain/auditdrain"
)

// jwks publishes the public keys that manifests are checked with, for whoever
// asks.
func (s *Server) jwks(w http.ResponseWriter, r *http.Request) {
	keys, err := s.SigningKeys.Public(r.Context())
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	body, err := keys.JWKS()
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/jwk-set+json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "public, max-age=300")
	_, _ = w.Write(body) // fails only if the client has gone
}

func (s *Server) listSigningKeys(c *call) (any, error) {
	keys, err := s.SigningKeys.Keys(c.Context())
	if err != nil {
		return nil, err
	}
	shown := auditdrain.ShowSigningKeys(keys, time.Now())
	if c.token.Role != auditdrain.RoleOperator {
		for i := range shown {
			shown[i].KMSKeyARN = ""
		}
	}
	return auditdrain.SigningKeyList{SigningKeys: shown}, nil
}

func (s *Server) createSigningKey(c *call) (any, error) {
	var in auditdrain.SigningKeyInput
	if err := readJSON(c, &in); err != nil {
		return nil, err
	}
	activeFrom, err := in.ActiveFrom(time.Now())
	if err != nil {
		return nil, err
	}
	act := c.did(auditdrain.ActionSigningKeyCreated, "", "", "", set("activeFrom", moment(activeFrom.UnixMilli())))
	key, err := s.SigningKeys.Rotate(c.Context(), activeFrom, act)
	if err != nil {
		return nil, err
	}
	keys, err := s.SigningKeys.Keys(c.Context())
	if err != nil {
		return nil, err
	}
	shown := auditdrain.ShowSigningKeys(keys, time.Now())
	return shown[slices.IndexFunc(shown, func(k auditdrain.SigningKeyInfo) bool { return k.ID == key.ID })], nil
}
