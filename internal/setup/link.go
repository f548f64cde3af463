package setup

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// consoles are the hosts of the AWS console, by partition.
var consoles = map[string]string{
	"aws":        "console.aws.amazon.com",
	"aws-cn":     "console.amazonaws.cn",
	"aws-us-gov": "console.amazonaws-us-gov.com",
}

// stackName is what the link and the template's own advice call the stack.
const stackName = "audit-log-drain"

// TemplateURLPlaceholder is in the place of the template's URL in the link as long as the operator has put it nowhere.
const TemplateURLPlaceholder = "<template-url>"

// quickCreateURL opens the console's page that makes a stack of the template, with all parameters filled in whose values
// are known: also those that are empty, since the template's own defaults may be another drain's. It is "" in partitions
// whose console we do not know.
func quickCreateURL(v values, templateURL string) string {
	host, ok := consoles[v.partition()]
	if !ok {
		return ""
	}
	var b strings.Builder
	b.WriteString("https://" + host + "/cloudformation/home")
	if v.Region != "" {
		b.WriteString("?region=" + quoteURL(v.Region))
	}
	b.WriteString("#/stacks/quickcreate?templateURL=")
	if templateURL == "" {
		b.WriteString(TemplateURLPlaceholder) // as it is, to be seen
	} else {
		b.WriteString(quoteURL(templateURL))
	}
	b.WriteString("&stackName=" + stackName)
	for _, p := range []struct {
		name, value string
		known       bool
	}{
		{"WriterRoleArn", v.WriterRoleARN, v.WriterRoleARN != ""},
		{"ExternalId", v.ExternalID, v.ExternalID != ""},
		{"RoleName", v.RoleName(), true},
		{"RolePath", v.RolePath(), true},
		{"BucketName", v.Bucket, v.Bucket != ""},
		{"Prefix", v.PolicyPrefix(), v.Bucket != ""},
		{"BucketRegion", v.Region, v.Region != ""},
		{"ObjectAcl", v.ACL(), true},
		{"KmsKeyArn", v.KMSKeyARN, true},
		{"BucketEncryption", v.BucketEncryption(), true},
	} {
		if p.known {
			b.WriteString("&param_" + p.name + "=" + quoteURL(p.value))
		}
	}
	return b.String()
}

// quoteURL escapes a value of the query that the console reads from the fragment. It does not take + for a space.
func quoteURL(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

var s3HostRE = regexp.MustCompile(`^([a-z0-9.-]+\.)?s3([.-][a-z0-9-]+)*\.amazonaws\.com(\.cn)?$`)

// ValidTemplateURL returns what is wrong with s as the place of the CloudFormation template, or nil. CloudFormation reads
// templates from S3 only.
func ValidTemplateURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
	case u.Scheme != "https", u.User != nil, u.Port() != "", u.Fragment != "", !s3HostRE.MatchString(u.Host), len(u.Path) < 2:
	case u.RawQuery != "" && !(len(u.Query()) == 1 && u.Query().Has("versionId")):
		// A presigned URL ends after days at most, and the links with it.
	default:
		return nil
	}
	return fmt.Errorf("%q is not allowed: CloudFormation takes the https URL of an object in S3, such as https://BUCKET.s3.us-east-1.amazonaws.com/drain.yaml, without a query but versionId", s)
}
