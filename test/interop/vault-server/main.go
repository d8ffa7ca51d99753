// A HashiCorp Vault in memory for the interop tests: the real core and HTTP handler with the engines the key
// service uses, without the rest of the program. It starts sealed and uninitialised; `PUT /v1/sys/init` and
// `PUT /v1/sys/unseal` do what they do on any Vault. Prints its address.
package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	log "github.com/hashicorp/go-hclog"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/logical/transit"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	logger := log.New(&log.LoggerOptions{Level: log.Warn, Output: os.Stderr})
	physical, err := inmem.NewInmem(nil, logger)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := "http://" + listener.Addr().String()
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical:           physical,
		LogicalBackends:    map[string]logical.Factory{"kv": kv.Factory, "transit": transit.Factory},
		CredentialBackends: map[string]logical.Factory{"approle": approle.Factory},
		BuiltinRegistry:    builtins{},
		Logger:             logger,
		DisableMlock:       true,
		RedirectAddr:       address,
		MaxLeaseTTL:        24 * time.Hour,
		DefaultLeaseTTL:    time.Hour,
	})
	if err != nil {
		return err
	}
	handler := vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core})
	fmt.Println(address)
	return (&http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}).Serve(listener)
}

// builtins names the engines that are compiled in.
type builtins struct{}

var builtinTypes = map[string]consts.PluginType{
	"kv":      consts.PluginTypeSecrets,
	"transit": consts.PluginTypeSecrets,
	"approle": consts.PluginTypeCredential,
}

func (builtins) Contains(name string, pluginType consts.PluginType) bool {
	found, ok := builtinTypes[name]
	return ok && found == pluginType
}

func (b builtins) Get(name string, pluginType consts.PluginType) (func() (interface{}, error), bool) {
	none := func() (interface{}, error) { return nil, errors.New("no plugin process") }
	return none, b.Contains(name, pluginType)
}

func (builtins) Keys(pluginType consts.PluginType) []string {
	var names []string
	for name, found := range builtinTypes {
		if found == pluginType {
			names = append(names, name)
		}
	}
	return names
}

func (b builtins) DeprecationStatus(name string, pluginType consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, b.Contains(name, pluginType)
}
