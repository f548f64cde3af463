package versitygw

import (
	"os"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// TestMain unsets what a developer happens to have set for AWS. The suite
// cannot work with AWS_CA_BUNDLE, and must not find anybody's credentials.
func TestMain(m *testing.M) {
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			os.Unsetenv(name)
		}
	}
	os.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	os.Setenv("AWS_CONFIG_FILE", os.DevNull)
	os.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxiproxy traces what it does
	os.Exit(m.Run())
}
