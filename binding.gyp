{
  "targets": [
    {
      "target_name": "outrider",
      "sources": ["<!@(node -p \"const s=require('./native/sources.json');[...s.core,...s.binding].join(' ')\")"],
      "include_dirs": [
        "native",
        "<!(node -p \"require('path').dirname(require.resolve('node-addon-api/package.json'))\")",
        "<!(node -p \"require('node-api-headers').include_dir\")"
      ],
      "defines": [
        "NAPI_VERSION=8",
        "NODE_ADDON_API_CPP_EXCEPTIONS",
        "NODE_ADDON_API_CPP_EXCEPTIONS_ALL",
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"
      ],
      "configurations": { "Release": {} },
      "default_configuration": "Release",
      "cflags_cc": [
        "-std=c++20", "-O3", "-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden", "-fno-math-errno", "-ffp-contract=off",
        "-fno-strict-aliasing", "-fexceptions", "-Wall", "-Wextra", "-Wno-maybe-uninitialized", "-Wno-uninitialized", "-pthread"
      ],
      "conditions": [["target_arch=='x64'", { "cflags_cc": ["-march=x86-64-v2"] }]],
      "ldflags": [
        "-pthread", "-static-libstdc++", "-static-libgcc", "-Wl,--exclude-libs,ALL", "-Wl,-Bsymbolic", "-Wl,-z,nodelete"
      ]
    }
  ]
}
