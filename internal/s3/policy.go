package s3

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"

	"github.com/auditdrain/auditdrain"
)

// sessionPolicy is the most that a session for d can do, whatever the
// customer's role allows. kms:GenerateDataKey is always in it: a bucket's
// default encryption can be KMS without the drain saying so.
func sessionPolicy(d auditdrain.Delivery) (string, error) {
	partition, suffix := partitionAndSuffix(d.Region)
	bucket, prefix := d.SplitEndpoint()
	resource := fmt.Sprintf("arn:%s:s3:::%s/", partition, bucket)
	if prefix != "" {
		resource += prefix + "/"
	}
	actions := []string{"s3:PutObject"}
	if d.ObjectACL != "" {
		actions = append(actions, "s3:PutObjectAcl")
	}
	type statement struct {
		Effect    string
		Action    []string
		Resource  string
		Condition map[string]map[string]string `json:",omitempty"`
	}
	var doc bytes.Buffer
	enc := json.NewEncoder(&doc)
	enc.SetEscapeHTML(false) // would make "&" six times as long
	err := enc.Encode(struct {
		Version   string
		Statement []statement
	}{"2012-10-17", []statement{
		{Effect: "Allow", Action: actions, Resource: resource + "*"},
		{Effect: "Allow", Action: []string{"kms:GenerateDataKey"}, Resource: "*",
			Condition: map[string]map[string]string{"StringEquals": {"kms:ViaService": "s3." + d.Region + "." + suffix}}},
	}})
	if err != nil {
		return "", fmt.Errorf("write session policy: %w", err)
	}
	return latin1(strings.TrimSuffix(doc.String(), "\n")), nil
}

// latin1 escapes what AssumeRole does not take in a policy, characters beyond
// U+00FF, the way JSON does.
func latin1(doc string) string {
	var b strings.Builder
	for _, r := range doc {
		if r <= 0xFF {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}
