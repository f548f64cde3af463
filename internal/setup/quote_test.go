package setup

import (
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"
)

// Values that have meant trouble in one of the languages.
var troublesome = []string{
	"", "plain", awkwardPrefix, "'", "''", `\`, `\'`, `'\''`, `"`, "$(id)", "`id`", "${x}", "$${x}", "%{if true}", "%%{", "$'x'", "!important",
	"a\nb", "\r", "\t", "- a", ": ", "#", "&a *b", "| >", "yes", "~", "0x1", "\u0085", "\u00a0", "\u2028", "\u2029", "\ufeff", "\ufffd", "\u202e",
	"é", "e\u0301", "日本", "🤖", "\U000e0001", "--", "/*", ";", "a+b c", "?x=1#y", "%41",
}

// FuzzBash has bash itself say what it takes the words for.
func FuzzBash(f *testing.F) {
	for _, s := range troublesome {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) || strings.Contains(s, "\x00") {
			return // no value is like that
		}
		for _, locale := range []string{"C", "C.UTF-8"} {
			cmd := exec.CommandContext(t.Context(), "bash", "-c", "printf %s "+QuoteBash(s))
			cmd.Env = []string{"LC_ALL=" + locale}
			out, err := cmd.Output()
			if err != nil || string(out) != s {
				t.Errorf("%q as %s is %q in %s, %v", s, QuoteBash(s), out, locale, err)
			}
		}
	})
}

// FuzzSQL checks that literals end where they should, by the rules of each language.
func FuzzSQL(f *testing.F) {
	for _, s := range troublesome {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, rest := readSQL(quoteSQL(s) + "; rest"); got != s || rest != "; rest" {
			t.Errorf("SQL: %q is read as %q, with %q left", s, got, rest)
		}
		if got, rest := readHive(quoteHive(s) + "; rest"); got != s || rest != "; rest" {
			t.Errorf("Hive: %q is read as %q, with %q left", s, got, rest)
		}
	})
}

// readSQL reads a literal in which a quote is doubled, and returns it and what follows.
func readSQL(text string) (literal, rest string) {
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		if text[i] == '\'' {
			if i+1 == len(text) || text[i+1] != '\'' {
				return b.String(), text[i+1:]
			}
			i++
		}
		b.WriteByte(text[i])
	}
	return b.String(), "(no end)"
}

// readHive reads a literal in which a backslash escapes.
func readHive(text string) (literal, rest string) {
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\'':
			return b.String(), text[i+1:]
		case '\\':
			i++
		}
		b.WriteByte(text[i])
	}
	return b.String(), "(no end)"
}

// FuzzURL reads the link as a browser does: percent-encoding only.
func FuzzURL(f *testing.F) {
	for _, s := range troublesome {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v := values{destination(func(d *Destination) { d.Prefix, d.ExternalID = s, s })}
		link := quickCreateURL(v, "https://x.s3.amazonaws.com/"+s)
		_, query, ok := strings.Cut(link, "#/stacks/quickcreate?")
		if !ok {
			t.Fatal(link)
		}
		parameters := 12
		if s == "" {
			parameters-- // an external ID that is not known is left out
		}
		got := map[string]string{}
		for pair := range strings.SplitSeq(query, "&") {
			name, value, _ := strings.Cut(pair, "=")
			value, err := url.PathUnescape(value)
			if err != nil {
				t.Fatal(err)
			}
			got[name] = value
		}
		if got["param_Prefix"] != v.PolicyPrefix() || got["param_ExternalId"] != s || got["templateURL"] != "https://x.s3.amazonaws.com/"+s ||
			got["stackName"] != stackName || len(got) != parameters {
			t.Errorf("%q in %s is read as %q", s, link, got)
		}
	})
}

func TestValidTemplateURL(t *testing.T) {
	for _, ok := range []string{
		"https://platform.s3.amazonaws.com/drain.yaml",
		"https://platform.s3.eu-central-1.amazonaws.com/a/drain.yaml",
		"https://my.bucket.s3.dualstack.eu-central-1.amazonaws.com/a/drain.yaml",
		"https://platform.s3-us-west-2.amazonaws.com/drain.yaml",
		"https://s3.us-east-1.amazonaws.com/platform/drain.yaml?versionId=abc",
		"https://s3.cn-north-1.amazonaws.com.cn/platform/drain.yaml",
	} {
		if err := ValidTemplateURL(ok); err != nil {
			t.Error(err)
		}
	}
	for _, wrong := range []string{
		"", "drain.yaml", "http://platform.s3.amazonaws.com/drain.yaml", "s3://platform/drain.yaml",
		"https://platform.s3.amazonaws.com", "https://platform.s3.amazonaws.com/", "https://example.com/drain.yaml",
		"https://platform.s3.amazonaws.com.example.com/drain.yaml", "https://evils3.amazonaws.com/drain.yaml",
		"https://u:p@platform.s3.amazonaws.com/drain.yaml", "https://platform.s3.amazonaws.com:8443/drain.yaml",
		"https://platform.s3.amazonaws.com/drain.yaml#x", "https://platform.s3.amazonaws.com/drain.yaml?X-Amz-Expires=60",
	} {
		if err := ValidTemplateURL(wrong); err == nil || !strings.Contains(err.Error(), "CloudFormation takes the https URL") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}
