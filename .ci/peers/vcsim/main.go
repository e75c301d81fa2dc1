// Command vcsim serves govmomi's simulator to the peer tests.
//
// The published vcsim module cannot be required: its go.mod replaces govmomi by the folder above
// it. This main package starts the released simulator package with the flags of the published
// command that the tests need, under the same names, and prints the same first line.
package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"github.com/vmware/govmomi/simulator"
	_ "github.com/vmware/govmomi/vapi/simulator"
)

type options struct {
	listen   string
	user     string
	password string
	certFile string
	keyFile  string
	tls      bool
	esx      bool
	trace    bool
	traceTo  string
}

func main() {
	model := simulator.VPX()
	var o options
	flag.StringVar(&o.listen, "l", "127.0.0.1:8989", "`address` to listen on; port 0 picks a free one")
	flag.StringVar(&o.user, "username", "", "the only login accepted (any, if empty)")
	flag.StringVar(&o.password, "password", "", "its password")
	flag.StringVar(&o.certFile, "tlscert", "", "certificate `file` (PEM)")
	flag.StringVar(&o.keyFile, "tlskey", "", "key `file` (PEM)")
	flag.BoolVar(&o.tls, "tls", true, "serve https")
	flag.BoolVar(&o.esx, "esx", false, "be a standalone ESXi host")
	flag.BoolVar(&o.trace, "trace", false, "write every SOAP message to stderr or -trace-file")
	flag.StringVar(&o.traceTo, "trace-file", "", "where -trace writes")
	flag.IntVar(&model.Datacenter, "dc", model.Datacenter, "datacenters")
	flag.IntVar(&model.Cluster, "cluster", model.Cluster, "clusters in each datacenter")
	flag.IntVar(&model.ClusterHost, "host", model.ClusterHost, "hosts in each cluster")
	flag.IntVar(&model.Host, "standalone-host", model.Host, "hosts outside of clusters")
	flag.IntVar(&model.Datastore, "ds", model.Datastore, "datastores")
	flag.IntVar(&model.Machine, "vm", model.Machine, "virtual machines in each resource pool")
	flag.IntVar(&model.Pool, "pool", model.Pool, "resource pools in each compute resource")
	flag.IntVar(&model.App, "app", model.App, "vApps in each compute resource")
	flag.IntVar(&model.Portgroup, "pg", model.Portgroup, "distributed port groups")
	flag.IntVar(&model.Folder, "folder", model.Folder, "folders")
	flag.BoolVar(&model.Autostart, "autostart", model.Autostart, "power the virtual machines on")
	flag.Parse()

	if err := run(model, o); err != nil {
		log.Fatal(err)
	}
}

// run serves until a signal arrives; the model's folders are removed on every way out.
func run(model *simulator.Model, o options) (err error) {
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if o.esx {
		machines, datastores, autostart := model.Machine, model.Datastore, model.Autostart
		model = simulator.ESX()
		model.Machine, model.Datastore, model.Autostart = machines, datastores, autostart
	}
	if o.trace {
		simulator.Trace = true
		if o.traceTo != "" {
			f, openErr := os.Create(o.traceTo)
			if openErr != nil {
				return openErr
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			simulator.TraceFile = f
		}
	}

	if err := model.Create(); err != nil {
		return err
	}
	defer model.Remove()

	model.Service.RegisterEndpoints = true
	model.Service.Listen = &url.URL{Host: o.listen}
	if o.user != "" {
		model.Service.Listen.User = url.UserPassword(o.user, o.password)
	}
	if o.tls {
		model.Service.TLS = new(tls.Config)
		if o.certFile != "" {
			pair, err := tls.LoadX509KeyPair(o.certFile, o.keyFile)
			if err != nil {
				return err
			}
			model.Service.TLS.Certificates = []tls.Certificate{pair}
		}
	}

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	server := model.Service.NewServer()
	defer server.Close()
	fmt.Printf("export GOVC_URL=%s GOVC_SIM_PID=%d\n", server.URL, os.Getpid())
	<-stop
	return nil
}
