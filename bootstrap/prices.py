"""What EMR Serverless and S3 charge in some regions: list prices in USD, before tax, without free tiers and discounts.

They were read second-hand, in public documents that quote AWS' price lists (pricing.us-east-1.amazonaws.com/offers/v1.0/aws,
ElasticMapReduce and AmazonS3), or in PerfKitBenchmarker's generated table (aws_dpb_emr_serverless_prices.py, no date in it).
Another region is a line. Prices change: look at the dates, and at https://aws.amazon.com/emr/pricing and /s3/pricing.
"""

from __future__ import annotations

from dataclasses import dataclass

from bootstrap.errors import BootstrapError
from job.releases import Architecture

MINIMUM_S = 60  # a worker is billed by the second, but for a minute at least (EMR Serverless User Guide, "Other considerations")
FREE_DISK_GB = 20  # of each worker (same page)


@dataclass(frozen=True, slots=True)
class Compute:
    """USD for an hour of a worker's vCPU, and of a GB of its memory."""

    vcpu_hour: float
    gb_hour: float

    def times(self, factor: float) -> Compute:
        return Compute(self.vcpu_hour * factor, self.gb_hour * factor)


@dataclass(frozen=True, slots=True)
class Prices:
    """USD in one region.

    compute       by architecture
    disk_gb_hour  a GB of a worker's disk beyond FREE_DISK_GB, for an hour
    puts, gets    1,000 requests to S3 Standard: PUT, COPY, POST and LIST; GET and all others
    gb_month      a GB (2**30 bytes) in S3 Standard for a month, at the price of the first 50 TB
    source        where they were read, of what date, and what was derived
    """

    compute: dict[Architecture, Compute]
    disk_gb_hour: float
    puts: float
    gets: float
    gb_month: float
    source: str


ARM64_FACTOR = 0.8  # of x86_64, in each region of which both prices were found

_US_ARM64, _US_X86_64 = Compute(0.042094, 0.004628), Compute(0.052624, 0.0057785)
_SAO_PAULO_ARM64, _SAO_PAULO_X86_64 = Compute(0.07241, 0.007956), Compute(0.09048, 0.00988)
_SINGAPORE_ARM64, _SINGAPORE_X86_64 = Compute(0.052585, 0.005746), Compute(0.065728, 0.007189)
_FRANKFURT = Compute(0.060528, 0.006643)

PRICES = {
    "us-east-1": Prices(
        {"arm64": _US_ARM64, "x86_64": _US_X86_64},
        disk_gb_hour=0.000111,
        puts=0.005,
        gets=0.0004,
        gb_month=0.023,
        source="price lists: EMR arm64 of 2026-07-17, S3 of 2026-09-28; EMR x86_64 and disk: PerfKitBenchmarker, undated",
    ),
    "us-west-2": Prices(
        {"arm64": _US_ARM64, "x86_64": _US_X86_64},
        disk_gb_hour=0.000111,
        puts=0.005,
        gets=0.0004,
        gb_month=0.023,
        source="price lists: EMR of 2026-07-17, S3 of 2026-08-07",
    ),
    "sa-east-1": Prices(
        {"arm64": _SAO_PAULO_ARM64, "x86_64": _SAO_PAULO_X86_64},
        disk_gb_hour=0.000211,
        puts=0.007,
        gets=0.00056,
        gb_month=0.0405,
        source="price lists: EMR of 2026-07-17, S3 of 2026-08-07",
    ),
    "ap-southeast-1": Prices(
        {"arm64": _SINGAPORE_ARM64, "x86_64": _SINGAPORE_X86_64},
        disk_gb_hour=0.000133,
        puts=0.005,
        gets=0.0004,
        gb_month=0.025,
        source="price lists read on 2026-08-12",
    ),
    "eu-central-1": Prices(
        {"arm64": _FRANKFURT.times(ARM64_FACTOR), "x86_64": _FRANKFURT},
        disk_gb_hour=0.000132,
        puts=0.0054,
        gets=0.00043,
        gb_month=0.0245,
        source="S3: price list of 2026-08-31; EMR x86_64: PerfKitBenchmarker, undated; EMR arm64 derived: four fifths of x86_64",
    ),
}


def dollars(usd: float) -> str:
    """A sum as text; below a dollar with hundredths of a cent."""
    return f"${usd:,.4f}" if usd < 1 else f"${usd:,.2f}"


def prices_in(region: str) -> Prices:
    """BootstrapError where the table has none."""
    if region not in PRICES:
        raise BootstrapError(
            f"no prices of {region} are known; there are those of {', '.join(PRICES)}", "bootstrap/prices.py takes a line more"
        )
    return PRICES[region]
