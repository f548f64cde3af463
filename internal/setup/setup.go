// Package setup writes everything that a team needs to let a drain write into its bucket and to read what was written:
// policies, a CloudFormation template with a link that fills it in, Terraform, a script for the AWS CLI, and queries for
// Athena and DuckDB.
//
// It guarantees that the same input gives the same bytes; that template, Terraform and script grant exactly what
// iam.Grant's policies grant, but for characters of a prefix that IAM takes only as JSON escapes, which CloudFormation and
// Terraform cannot send: there "?", any one character, stands for each; that nothing which is known is left as a placeholder; and that no value, whatever is in it,
// gets out of the place it was put into: each is escaped for the language that it stands in.
package setup

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"strings"
	"text/template"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// Destination is what is known of a drain. Any of it may be empty.
type Destination struct {
	iam.Grant
	Encoding   string // of the objects; "": both are read
	Encryption string // the drain's serverSideEncryption
	ACL        string // the drain's objectAcl
}

// DestinationOf is what a delivery tells. Writer role, external ID and key are left to the caller.
func DestinationOf(d auditdrain.Delivery) Destination {
	return Destination{Grant: iam.GrantFor(d), Encoding: d.Encoding, Encryption: d.ServerSideEncryption, ACL: d.ObjectACL}
}

// DefaultRoleName is what the role is called where nobody has named one.
const DefaultRoleName = "audit-log-drain"

// Write returns the whole kit. templateURL is where the operator has put the CloudFormation template, or "".
func Write(d Destination, templateURL string) auditdrain.Setup {
	v := values{Destination: d}
	return auditdrain.Setup{
		WriterRoleARN:      d.WriterRoleARN,
		ExternalID:         d.ExternalID,
		TrustPolicy:        d.TrustPolicy(),
		PermissionsPolicy:  d.PermissionsPolicy(),
		KeyPolicyStatement: d.KeyPolicyStatement(),
		CloudFormation:     execute("cloudformation.yaml", v),
		QuickCreateURL:     quickCreateURL(v, templateURL),
		Terraform:          execute("terraform.tf", v),
		CLI:                execute("cli.sh", v),
		Athena:             execute("athena.sql", v),
		DuckDB:             execute("duckdb.sql", v),
	}
}

//go:embed templates
var files embed.FS

var templates = template.Must(template.New("").Option("missingkey=error").Funcs(template.FuncMap{
	"yaml": quoteYAML,
	"hcl":  quoteHCL,
	"bash": QuoteBash,
	"hive": quoteHive,
	"sql":  quoteSQL,
}).ParseFS(files, "templates/*"))

func execute(name string, v values) string {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, v); err != nil {
		panic(fmt.Sprintf("setup: %v", err)) // strings and methods without errors only
	}
	return b.String()
}

// values is what the templates refer to.
type values struct{ Destination }

// RoleName is the name of the role, the drain's if it has one.
func (v values) RoleName() string {
	role, _ := auditdrain.ParseRoleARN(v.RoleARN)
	return cmp.Or(role.Name, DefaultRoleName)
}

// RolePath is the part of the role's ARN before the name, "/" for most.
func (v values) RolePath() string {
	_, resource, ok := strings.Cut(v.RoleARN, ":role/")
	if !ok {
		return "/"
	}
	return "/" + resource[:strings.LastIndex(resource, "/")+1]
}

func (v values) AccountKnown() bool {
	_, ok := auditdrain.ParseRoleARN(v.RoleARN)
	return ok
}

// ACL is the drain's objectAcl, or "none".
func (v values) ACL() string { return cmp.Or(v.Destination.ACL, "none") }

// NeedsACLs reports whether S3 refuses the drain's writes where ACLs are disabled. bucket-owner-full-control is the one
// that it still takes.
func (v values) NeedsACLs() bool {
	return v.Destination.ACL != "" && v.Destination.ACL != "bucket-owner-full-control"
}

// BucketEncryption is the default encryption of a bucket that is made for the drain.
func (v values) BucketEncryption() string {
	switch {
	case v.Encryption != "":
		return v.Encryption
	case v.KMSKeyARN != "":
		return "aws:kms"
	}
	return "AES256"
}

// keyToCome stands for a key that the script makes.
const keyToCome = "<your-kms-key-arn>"

// PolicyPrefix is the prefix as CloudFormation can put it into a policy: IAM refuses characters beyond U+00FF that are not
// escaped (IAM API Reference, PutRolePolicy: PolicyDocument), and "?" is its wildcard for one character.
func (v values) PolicyPrefix() string {
	return strings.Map(func(r rune) rune {
		if r > 0xFF {
			return '?'
		}
		return r
	}, v.Prefix)
}

func (v values) Trust() string { return v.TrustPolicy() }

func (v values) PermissionsWithKey() string {
	g := v.Grant
	g.KMSKeyARN = cmp.Or(g.KMSKeyARN, keyToCome)
	return g.PermissionsPolicy()
}

func (v values) PermissionsWithoutKey() string {
	g := v.Grant
	g.KMSKeyARN = ""
	return g.PermissionsPolicy()
}

func (v values) KeyStatement() string {
	g := v.Grant
	g.KMSKeyARN = cmp.Or(g.KMSKeyARN, keyToCome)
	return g.KeyPolicyStatement()
}

// NewKeyPolicy is the policy of a key that the script makes: the account's administration and the drain's statement.
func (v values) NewKeyPolicy() string {
	return policy(`{
      "Sid": "AdministeredByThisAccount",
      "Effect": "Allow",
      "Principal": {"AWS": "arn:`+v.partition()+`:iam::`+v.Account()+`:root"},
      "Action": "kms:*",
      "Resource": "*"
    }`, v.KeyStatement())
}

// BucketPolicy is the policy of a bucket that the script makes.
func (v values) BucketPolicy() string {
	arn := "arn:" + v.partition() + ":s3:::" + cmp.Or(v.Bucket, "<bucket-name>")
	return policy(`{
      "Sid": "DenyWithoutTLS",
      "Effect": "Deny",
      "Principal": "*",
      "Action": "s3:*",
      "Resource": ["` + arn + `", "` + arn + `/*"],
      "Condition": {"Bool": {"aws:SecureTransport": "false"}}
    }`)
}

// policy is a document of statements that are JSON already.
func policy(statements ...string) string {
	var b bytes.Buffer
	doc := `{"Version": "2012-10-17", "Statement": [` + strings.Join(statements, ",") + `]}`
	if err := json.Indent(&b, []byte(doc), "", "  "); err != nil {
		panic(fmt.Sprintf("setup: %v", err)) // of constants and of what encoding/json wrote
	}
	return b.String()
}

// partition is that of the region or, as long as there is none, of the role.
func (v values) partition() string {
	if role, ok := auditdrain.ParseRoleARN(v.RoleARN); ok && v.Region == "" {
		return role.Partition
	}
	name, _ := iam.Partition(v.Region)
	return name
}

// BucketURL is the endpoint without its prefix.
func (v values) BucketURL() string { return "s3://" + cmp.Or(v.Bucket, "<bucket-name>") }

// RegionOrPlaceholder is for where a region has to be.
func (v values) RegionOrPlaceholder() string { return cmp.Or(v.Region, "<aws-region>") }

// endpoint is the drain's, with a slash at its end.
func (v values) endpoint() string {
	if v.Prefix == "" {
		return v.BucketURL() + "/"
	}
	return v.BucketURL() + "/" + v.Prefix + "/"
}

// Location is below what objects of test deliveries have in common with others.
func (v values) Location() string { return v.endpoint() + "schema=audit_log/version=v1/" }

// PartitionTemplate is the folder of a day, in the notation of Athena's partition projection.
func (v values) PartitionTemplate() string {
	return v.Location() + "year=${year}/month=${month}/day=${day}/"
}

// Glob matches all objects but those of test deliveries, in DuckDB's notation.
func (v values) Glob() string {
	extension := "json*"
	switch v.Encoding {
	case "json":
		extension = "json"
	case "ndjson":
		extension = "jsonl"
	}
	return escapeGlob(v.endpoint()) + "schema=audit_log/**/*." + extension
}

// S3Endpoint is S3's host where DuckDB does not find it by the region, else "".
func (v values) S3Endpoint() string {
	_, suffix := iam.Partition(v.Region)
	if suffix == "amazonaws.com" {
		return ""
	}
	return "s3." + v.Region + "." + suffix
}
