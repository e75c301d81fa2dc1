// Command vijson puts a VI JSON front before govmomi's simulator, which speaks SOAP only.
//
// A request is decoded by govmomi's own JSON codec, whole, into govmomi's own request type, sent
// to the simulator as SOAP, and its answer encoded by govmomi again: no part of what judges a client
// of VI JSON here is ours, but for the three things in which govmomi's codec differs from a
// vCenter's. A vCenter writes faults inside data without their LocalizedMethodFault, a bare value
// where the result is one, and it sends a session header. The SOAP endpoints stay served as they
// are.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// calls are the methods that are served; each is a
// func(context.Context, soap.RoundTripper, *types.M) (*types.MResponse, error).
var calls = table(
	methods.CancelTask, methods.CancelWaitForUpdates, methods.ContinueRetrievePropertiesEx,
	methods.CreateDescriptor, methods.CreateFilter, methods.CreateFolder,
	methods.CreateImportSpec, methods.CreatePropertyCollector, methods.CreateSnapshot_Task,
	methods.CreateStoragePod, methods.CurrentTime,
	methods.DestroyPropertyCollector, methods.DestroyPropertyFilter, methods.ExportSnapshot,
	methods.ExportVApp, methods.ExportVm, methods.FetchDVPortKeys, methods.FetchDVPorts,
	methods.FindAllByUuid, methods.FindByUuid, methods.HttpNfcLeaseAbort,
	methods.HttpNfcLeaseComplete, methods.HttpNfcLeaseGetManifest, methods.HttpNfcLeaseProbeUrls,
	methods.HttpNfcLeaseProgress, methods.HttpNfcLeasePullFromUrls_Task,
	methods.HttpNfcLeaseSetManifestChecksumType, methods.ImportVApp, methods.Login, methods.Logout,
	methods.MarkAsTemplate, methods.MoveIntoFolder_Task, methods.ParseDescriptor, methods.PowerOffVM_Task,
	methods.PowerOnVM_Task, methods.QueryDvsByUuid, methods.ReconfigVM_Task,
	methods.RefreshDVPortState, methods.RemoveSnapshot_Task, methods.RetrievePropertiesEx,
	methods.RetrieveServiceContent, methods.StartDpuFailover, methods.ValidateHost,
	methods.WaitForUpdatesEx,
)

var releases = []string{"8.0.3.0", "8.0.2.0", "8.0.1.0"}

const sessionHeader = "vmware-api-session-id"

// front is one server. Every session of VI JSON is a session of SOAP behind it.
type front struct {
	sdk       *url.URL
	anonymous *soap.Client
	mu        sync.Mutex
	sessions  map[string]*soap.Client
	specs     []any // the import specs that were handed out
}

func table(functions ...any) map[string]reflect.Value {
	calls := make(map[string]reflect.Value)
	for _, f := range functions {
		name := reflect.TypeOf(f).In(2).Elem().Name()
		if name == "StartDpuFailover" {
			name = "startDpuFailover"
		}
		calls[name] = reflect.ValueOf(f)
	}
	return calls
}

func (f *front) client() *soap.Client {
	c := soap.NewClient(f.sdk, true)
	c.Namespace, c.Version = "urn:vim25", releases[0]
	return c
}

// serve answers /sdk/vim25/{release}/{type}/{id}/{method or property}.
func (f *front) serve(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(r.URL.EscapedPath(), "/")[3:]
	for i := range parts {
		parts[i], _ = url.PathUnescape(parts[i])
	}
	if len(parts) != 4 || !slices.Contains(releases, parts[0]) {
		http.Error(w, "<html>no such base – schade</html>", http.StatusNotFound)
		return
	}
	this := types.ManagedObjectReference{Type: parts[1], Value: parts[2]}
	f.mu.Lock()
	session := f.sessions[r.Header.Get(sessionHeader)]
	f.mu.Unlock()
	if session == nil {
		session = f.anonymous
	}
	var value any
	var err error
	switch r.Method {
	case http.MethodGet:
		value, err = property(r.Context(), session, this, parts[3])
	case http.MethodPost:
		value, err = f.call(w, r, session, this, parts[3])
	default:
		http.Error(w, "", http.StatusMethodNotAllowed)
		return
	}
	f.answer(w, value, err)
}

// call decodes the parameters, makes the call and returns what came back; nil for nothing.
func (f *front) call(w http.ResponseWriter, r *http.Request, session *soap.Client, this types.ManagedObjectReference, name string) (any, error) {
	function, ok := calls[name]
	if !ok {
		return nil, fault("", &types.MethodNotFound{Receiver: this, Method: name})
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if name == "ImportVApp" && !f.handedOut(body) {
		return nil, fault("the import spec is not one that was handed out", &types.InvalidArgument{InvalidProperty: "spec"})
	}
	request := reflect.New(function.Type().In(2).Elem())
	if len(body) > 0 {
		body = wrapped(name, body)
		if err := types.NewJSONDecoder(bytes.NewReader(body)).Decode(request.Interface()); err != nil {
			return nil, fault(err.Error(), &types.InvalidRequest{})
		}
		// The decoder's own strictness trips over every type name.
		var understood bytes.Buffer
		if err := types.NewJSONEncoder(&understood).Encode(request.Interface()); err != nil {
			return nil, err
		}
		sent := generic(body)
		delete(sent.(map[string]any), "_typeName")
		if at := misread(sent, generic(understood.Bytes()), name); at != "" {
			return nil, fault("not understood: "+at, &types.InvalidRequest{})
		}
	}
	request.Elem().FieldByName("This").Set(reflect.ValueOf(this))
	if name == "Login" {
		session = f.client()
	}
	results := function.Call([]reflect.Value{reflect.ValueOf(r.Context()), reflect.ValueOf(session), request})
	if err, _ := results[1].Interface().(error); err != nil {
		return nil, err
	}
	if name == "Login" {
		w.Header().Set(sessionHeader, f.keep(session))
	}
	returned := results[0].Elem().FieldByName("Returnval")
	// Nothing, an empty array and a null all have no body.
	if !returned.IsValid() || returned.IsZero() && returned.Kind() != reflect.Bool || returned.Kind() == reflect.Slice && returned.Len() == 0 {
		return nil, nil
	}
	return returned.Interface(), nil
}

// keep gives a session a token, which is not its key.
func (f *front) keep(session *soap.Client) string {
	token := make([]byte, 20)
	_, _ = rand.Read(token)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sessions[hex.EncodeToString(token)] = session
	return hex.EncodeToString(token)
}

func property(ctx context.Context, session *soap.Client, this types.ManagedObjectReference, name string) (any, error) {
	spec := types.PropertyFilterSpec{
		ObjectSet: []types.ObjectSpec{{Obj: this}},
		PropSet:   []types.PropertySpec{{Type: this.Type, PathSet: []string{name}}},
	}
	read, err := methods.RetrievePropertiesEx(ctx, session, &types.RetrievePropertiesEx{
		This:    types.ManagedObjectReference{Type: "PropertyCollector", Value: "propertyCollector"},
		SpecSet: []types.PropertyFilterSpec{spec},
	})
	if err != nil || read.Returnval == nil {
		return nil, err
	}
	for _, object := range read.Returnval.Objects {
		for _, missing := range object.MissingSet {
			return nil, fault(missing.Fault.LocalizedMessage, missing.Fault.Fault)
		}
		for _, set := range object.PropSet {
			return set.Val, nil
		}
	}
	return nil, nil
}

// answer writes a result, nothing, or a fault.
func (f *front) answer(w http.ResponseWriter, value any, err error) {
	status, text := http.StatusOK, ""
	if err != nil {
		if !soap.IsSoapFault(err) {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		status = http.StatusInternalServerError
		value, text = soap.ToSoapFault(err).VimFault(), soap.ToSoapFault(err).String
	}
	if value == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	var encoded bytes.Buffer
	if err := types.NewJSONEncoder(&encoded).Encode(value); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	tree := flat(generic(encoded.Bytes()))
	if object, ok := tree.(map[string]any); ok {
		if text != "" {
			object["faultstring"] = text
		}
		if inner, ok := object["_value"]; ok {
			tree = inner // a result is bare
		}
		f.handOut(object["importSpec"])
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(tree)
}

func (f *front) handOut(spec any) {
	if spec != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.specs = append(f.specs, spec)
	}
}

// handedOut tells whether the spec of an ImportVApp is the very one that was handed out.
func (f *front) handedOut(body []byte) bool {
	request, _ := generic(body).(map[string]any)
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.specs, func(spec any) bool { return reflect.DeepEqual(spec, request["spec"]) })
}

// misread returns where something sent is not in what was understood; "" if it all is.
func misread(sent, understood any, at string) string {
	switch sent := sent.(type) {
	case map[string]any:
		fields, _ := understood.(map[string]any)
		for name, value := range sent {
			got, ok := fields[name]
			if !ok && !empty(value) {
				return at + "." + name
			}
			if below := misread(value, got, at+"."+name); ok && below != "" {
				return below
			}
		}
		return ""
	case []any:
		items, _ := understood.([]any)
		for i := range sent {
			if i >= len(items) {
				return fmt.Sprintf("%s[%d]", at, i)
			}
			if below := misread(sent[i], items[i], fmt.Sprintf("%s[%d]", at, i)); below != "" {
				return below
			}
		}
		return ""
	}
	if sent != understood {
		return at
	}
	return ""
}

// empty tells whether the encoder may leave a value out.
func empty(value any) bool {
	return value == nil || value == false || value == "" || value == json.Number("0")
}

// generic decodes without types and without touching the digits of numbers.
func generic(text []byte) (tree any) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	_ = decoder.Decode(&tree)
	return tree
}

// flat takes faults inside data out of their LocalizedMethodFault.
func flat(tree any) any {
	switch tree := tree.(type) {
	case []any:
		for i := range tree {
			tree[i] = flat(tree[i])
		}
	case map[string]any:
		for name := range tree {
			tree[name] = flat(tree[name])
		}
		if inner, ok := tree["fault"].(map[string]any); ok && tree["_typeName"] == "LocalizedMethodFault" {
			if text, ok := tree["localizedMessage"]; ok && text != "" {
				inner["faultstring"] = text
			}
			return inner
		}
	}
	return tree
}

// wrapped puts the one fault that clients send, that of an abort, into a LocalizedMethodFault.
func wrapped(name string, body []byte) []byte {
	request, ok := generic(body).(map[string]any)
	if !ok || name != "HttpNfcLeaseAbort" || request["fault"] == nil {
		return body
	}
	request["fault"] = map[string]any{"_typeName": "LocalizedMethodFault", "fault": request["fault"]}
	encoded, _ := json.Marshal(request)
	return encoded
}

func fault(text string, kind types.BaseMethodFault) error {
	return soap.WrapSoapFault(simulator.Fault(text, kind))
}

// hello agrees on a release: the first of the client's that is ours.
func hello(w http.ResponseWriter, r *http.Request) {
	var question struct {
		Releases []string `json:"api_releases"`
	}
	if r.URL.RawQuery != "action=hello" || r.Method != http.MethodPost {
		http.NotFound(w, r)
		return
	}
	if err := json.NewDecoder(r.Body).Decode(&question); err != nil || len(question.Releases) == 0 {
		http.Error(w, `{"error_type":"INVALID_ARGUMENT"}`, http.StatusBadRequest)
		return
	}
	agreed := slices.IndexFunc(question.Releases, func(r string) bool { return slices.Contains(releases, r) })
	answer := map[string]string{"api_release": ""}
	if agreed >= 0 {
		answer["api_release"] = question.Releases[agreed]
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

func main() {
	model := simulator.VPX()
	listen := flag.String("l", "127.0.0.1:0", "`address` to listen on")
	user := flag.String("username", "", "the only login accepted (any, if empty)")
	password := flag.String("password", "", "its password")
	withHello := flag.Bool("hello", true, "offer the release by Hello, as servers since 8.0.2.0 do")
	flag.IntVar(&model.App, "app", model.App, "vApps in each compute resource")
	flag.IntVar(&model.Folder, "folder", model.Folder, "folders")
	flag.IntVar(&model.Pool, "pool", model.Pool, "resource pools in each compute resource")
	flag.IntVar(&model.Portgroup, "pg", model.Portgroup, "distributed port groups")
	flag.Parse()
	if err := model.Create(); err != nil {
		log.Fatal(err)
	}
	defer model.Remove()
	service := model.Service
	service.TLS = new(tls.Config)
	service.Listen = &url.URL{Host: *listen}
	if *user != "" {
		service.Listen.User = url.UserPassword(*user, *password)
	}
	service.Context.Map.Get(vim25.ServiceInstance).(*simulator.ServiceInstance).Content.About.ApiVersion = releases[0]
	f := &front{sessions: make(map[string]*soap.Client)}
	service.HandleFunc("/sdk/vim25/", f.serve)
	if *withHello {
		service.HandleFunc("/api/vcenter/system", hello)
	}
	server := service.NewServer()
	defer server.Close()
	f.sdk = &url.URL{Scheme: server.URL.Scheme, Host: server.URL.Host, Path: server.URL.Path}
	f.anonymous = f.client()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	fmt.Printf("export GOVC_URL=%s GOVC_SIM_PID=%d\n", server.URL, os.Getpid())
	<-stop
}
