package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/auditdrain/auditdrain"
)

// runFakeService stands for `auditdrain serve`: it writes events to their
// drain while the producer waits, and keeps nothing. The file "fault" among its
// data says what it does wrong with the first batch that has more than one
// event, or at its end.
func runFakeService(ctx context.Context, args []string, _ io.Reader, _ io.Writer) error {
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	listen := fs.String("listen", "", "")
	data := fs.String("data", "", "")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *data == "" {
		return fmt.Errorf("flags: %q", args)
	}
	for _, kv := range os.Environ() {
		switch name, value, _ := strings.Cut(kv, "="); {
		case name == "AWS_CA_BUNDLE", name == "AUDITDRAIN_RETAIN":
			return fmt.Errorf("%s is set", name)
		case name == "AWS_ENDPOINT_URL_S3" && value != os.Getenv("AWS_ENDPOINT_URL_STS"):
			return fmt.Errorf("%s is %q", name, value)
		}
	}
	put, err := newBarePutter(os.Getenv("AWS_ENDPOINT_URL_S3"), http.DefaultTransport)
	if err != nil {
		return err
	}
	// Its teams and drains are in no folder: all that can be are there.
	if err := os.MkdirAll(*data, 0o700); err != nil {
		return err
	}
	fault, err := os.ReadFile(filepath.Join(*data, "fault"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	s := &fakeService{put: put, fault: string(fault)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /v1/teams", s.createTeam)
	mux.HandleFunc("POST /v1/drains", s.createDrain)
	mux.HandleFunc("POST /v1/events", s.events)
	srv := &http.Server{Addr: *listen, Handler: mux}
	defer context.AfterFunc(ctx, func() { srv.Close() })()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	if s.fault == "exit" {
		return errors.New("no clean shutdown")
	}
	return nil
}

type fakeService struct {
	put   putter
	fault string

	once sync.Once // for fault
}

func authorized(r *http.Request) bool {
	return r.Header.Get("Authorization") == "Bearer "+os.Getenv("AUDITDRAIN_OPERATOR_TOKEN")
}

func (s *fakeService) createTeam(w http.ResponseWriter, r *http.Request) {
	var team auditdrain.Team
	err := json.NewDecoder(r.Body).Decode(&team)
	if err == nil {
		err = team.Validate()
	}
	if err != nil || !authorized(r) {
		http.Error(w, fmt.Sprint(err), http.StatusBadRequest)
		return
	}
	json.NewEncoder(w).Encode(team)
}

func (s *fakeService) createDrain(w http.ResponseWriter, r *http.Request) {
	var in auditdrain.DrainInput
	team, err := teamNumber(r.URL.Query().Get("teamId"))
	if err == nil {
		err = json.NewDecoder(r.Body).Decode(&in)
	}
	if err == nil && !reflect.DeepEqual(*in.Delivery, deliveryOf(team)) {
		err = fmt.Errorf("delivery of team %d: %+v", team, *in.Delivery)
	}
	if err == nil {
		err = auditdrain.FieldErrors(in.Delivery.Validate(func(string) (string, bool) { return "aws", true }))
	}
	if err != nil || !authorized(r) {
		http.Error(w, fmt.Sprint(err), http.StatusBadRequest)
		return
	}
	json.NewEncoder(w).Encode(auditdrain.Drain{Name: in.Name})
}

func teamNumber(id string) (int, error) {
	return strconv.Atoi(strings.TrimPrefix(id, "team_bench"))
}

func (s *fakeService) events(w http.ResponseWriter, r *http.Request) {
	team, teamErr := teamNumber(r.URL.Query().Get("teamId"))
	body, err := io.ReadAll(r.Body)
	if err != nil || teamErr != nil || !authorized(r) || r.Header.Get("Content-Type") != "application/x-ndjson" {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	lines := bytes.Split(bytes.TrimSuffix(body, []byte("\n")), []byte("\n"))
	accepted, duplicates := len(lines), 0
	if s.fault == "full" && accepted > 1 {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "disk full", http.StatusServiceUnavailable)
		return
	}
	if accepted > 1 {
		s.once.Do(func() {
			switch s.fault {
			case "lose":
				lines = lines[1:]
			case "twice":
				lines = append(lines, lines[0])
			case "elsewhere":
				team = (team + 1) % 2
			case "duplicate":
				accepted, duplicates = accepted-1, 1
			case "hang":
				<-r.Context().Done()
				accepted = 0
			case "refuse":
				http.Error(w, "disk full", http.StatusInsufficientStorage)
				accepted = 0
			case "busy":
				w.Header().Set("Retry-After", "1")
				http.Error(w, "too many bodies", http.StatusServiceUnavailable)
				accepted = 0
			}
		})
	}
	if accepted == 0 {
		return
	}
	for _, line := range lines {
		var e struct {
			ID        string
			Timestamp int64
		}
		if err := json.Unmarshal(line, &e); err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		event := auditdrain.Event{ID: e.ID, Timestamp: e.Timestamp, Body: line}
		delivery := deliveryOf(team)
		if err := s.put(r.Context(), object{bucketOf(team), delivery.ObjectKey(event, false), delivery.ObjectBody(event)}); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	fmt.Fprintf(w, `{"accepted":%d,"duplicates":%d}`, accepted, duplicates)
}
