#pragma once

/// Marks what libpaco exports; everything else is hidden.
#define PACO_API __attribute__((visibility("default")))
