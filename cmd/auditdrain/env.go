package main

import (
	"errors"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// envPrefix begins the name of every variable that belongs to this program.
const envPrefix = "AUDITDRAIN_"

// withoutFlag are the variables that have no flag.
var withoutFlag = []string{
	// serve; secrets that must not be among a server's arguments
	"AUDITDRAIN_OPERATOR_TOKEN",
	"AUDITDRAIN_NOTIFY_SECRET",

	// cobra's own
	"AUDITDRAIN_ACTIVE_HELP",
	"AUDITDRAIN_COMPLETION_DESCRIPTIONS",
}

// serviceLink matches the variables that Kubernetes sets in every pod for a
// service called "auditdrain", or "auditdrain-…".
var serviceLink = regexp.MustCompile(`^AUDITDRAIN_(?:[A-Z0-9_]+_)?(?:` +
	`SERVICE_HOST=|` +
	`SERVICE_PORT(?:_[A-Z0-9_]+)?=|` +
	`PORT=(?:tcp|udp|sctp)://|` +
	`PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:ADDR|PORT|PROTO))?=)`)

// everywhere are the flags outside of serve that have a variable.
var everywhere = []string{"url", "token", "team", "output", "postgres"}

// variable marks the flags that have one.
const variable = "variable"

func hasVariable(cmd *cobra.Command, flag *pflag.Flag) bool {
	return cmd.Name() == "serve" || slices.Contains(everywhere, flag.Name)
}

func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// bindEnvironment gives the flags that are settings of a machine rather than
// of one call their variables: those of serve, and those that say which
// service and team a command is for. A variable is named in the help text, and
// sets the flag that was not given as an argument. Flags of one call have
// none: a variable that somebody has forgotten must not move a drain. Any
// other variable with our prefix is an error, since it would be a setting
// without effect.
//
// It uses the root's PersistentPreRunE: no command below may have its own.
func bindEnvironment(root *cobra.Command, environ []string) {
	known := slices.Clone(withoutFlag)
	for cmd := range allCommands(root) {
		for flag := range ownFlags(cmd) {
			if !hasVariable(cmd, flag) {
				continue
			}
			if flag.Annotations == nil {
				flag.Annotations = map[string][]string{} // else cobra's own are there
			}
			flag.Annotations[variable] = nil
			name := envName(flag.Name)
			known = append(known, name)
			flag.Usage += " [$" + name + "]"
		}
	}
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		switch cmd.Name() {
		case cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd:
			return nil // completion must work where the settings are not right yet
		}
		values, err := ourVariables(environ, known)
		if err != nil {
			return err
		}
		return applyEnvironment(cmd.Flags(), values)
	}
}

// ourVariables returns the variables with our prefix that are not empty.
func ourVariables(environ, known []string) (map[string]string, error) {
	values := map[string]string{}
	for _, assignment := range environ {
		name, value, _ := strings.Cut(assignment, "=")
		if !strings.HasPrefix(name, envPrefix) || value == "" || serviceLink.MatchString(assignment) {
			continue
		}
		if !slices.Contains(known, name) {
			if near, ok := closest(name, known); ok {
				return nil, usagef("environment variable %s is not known: did you mean %s?", name, near)
			}
			return nil, usagef("environment variable %s is not known: auditdrain serve --help names those that are", name)
		}
		values[name] = value
	}
	return values, nil
}

func applyEnvironment(flags *pflag.FlagSet, values map[string]string) error {
	var first error
	flags.VisitAll(func(flag *pflag.Flag) {
		value, ok := values[envName(flag.Name)]
		if _, has := flag.Annotations[variable]; !has || !ok || flag.Changed {
			return
		}
		if err := flag.Value.Set(value); err != nil {
			if first == nil {
				first = usagef("%s: invalid value %q: %w", envName(flag.Name), value, err)
			}
			return
		}
		flag.Changed = true // required flags count as given
	})
	return first
}

// flagError words cobra's errors about flags.
func flagError(cmd *cobra.Command, err error) error {
	// A mistyped command makes all the flags after it unknown.
	if args := cmd.Flags().Args(); cmd.HasSubCommands() && len(args) > 0 {
		return unknownCommand(cmd, args[0])
	}
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return usageError{err}
	}
	var names []string
	cmd.Flags().VisitAll(func(flag *pflag.Flag) { names = append(names, flag.Name) })
	near, ok := closest(unknown.GetSpecifiedName(), names)
	if !ok || unknown.GetSpecifiedShortnames() != "" {
		return usagef("%w, see %s --help", err, cmd.CommandPath())
	}
	return usagef("%w: did you mean --%s?", err, near)
}

func allCommands(cmd *cobra.Command) iter.Seq[*cobra.Command] {
	return func(yield func(*cobra.Command) bool) {
		var walk func(*cobra.Command) bool
		walk = func(cmd *cobra.Command) bool {
			if !yield(cmd) {
				return false
			}
			for _, c := range cmd.Commands() {
				if !walk(c) {
					return false
				}
			}
			return true
		}
		walk(cmd)
	}
}

// ownFlags are the flags that are defined on cmd, for itself or for the
// commands below it.
func ownFlags(cmd *cobra.Command) iter.Seq[*pflag.Flag] {
	return func(yield func(*pflag.Flag) bool) {
		var flags []*pflag.Flag
		add := func(flag *pflag.Flag) {
			if flag.Name != "help" && !slices.Contains(flags, flag) {
				flags = append(flags, flag)
			}
		}
		cmd.Flags().VisitAll(add)
		cmd.PersistentFlags().VisitAll(add)
		for _, flag := range flags {
			if !yield(flag) {
				return
			}
		}
	}
}

// closest returns the candidate that was probably meant by name.
func closest(name string, candidates []string) (string, bool) {
	best, bestDistance := "", 1+len(strings.TrimPrefix(name, envPrefix))/4
	for _, c := range candidates {
		if d := editDistance(strings.ToLower(name), strings.ToLower(c)); d <= bestDistance {
			best, bestDistance = c, d-1
		}
	}
	return best, best != ""
}

// editDistance is how many characters have to be put in, taken out, replaced
// or swapped with their neighbour to make b of a.
func editDistance(a, b string) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			replace := row[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			next[j] = min(replace, row[j]+1, next[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}

// choice is a flag whose value is one of a few.
type choice struct {
	value   string
	allowed []string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return strings.Join(c.allowed, "|") }

func (c *choice) Set(s string) error {
	if !slices.Contains(c.allowed, s) {
		return fmt.Errorf("use one of %s", strings.Join(c.allowed, ", "))
	}
	c.value = s
	return nil
}

// addTo defines the flag, with completion of its values.
func (c *choice) addTo(cmd *cobra.Command, flags *pflag.FlagSet, name, short, usage string) {
	flags.VarP(c, name, short, usage)
	must(cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(c.allowed, cobra.ShellCompDirectiveNoFileComp)))
}
